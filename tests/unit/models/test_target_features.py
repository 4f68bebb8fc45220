"""The features that soft targets are made of, and what making them leaves behind: nothing."""

import copy
from dataclasses import replace

import pytest
import torch

from models.backbone import Backbone, BackboneSettings
from models.batchnorm import GlobalBatchNorm1d, without_traces
from models.choices import MODALITIES
from models.clips import ClipBatch, whole
from models.cost import training_cost
from models.framework import UNAUGMENTED, Framework
from models.late_objective import build_objective
from models.normalise import normalise
from models.skeleton import SkeletonLayout
from models.views import Views
from tests.helpers.objectives import terms

LAYOUT = SkeletonLayout(
    "arm",
    ("a", "b", "c", "d"),
    (0, 0, 1, 1),
    centre=0,
    left_shoulder=2,
    right_shoulder=3,
    mirror=(),
)
MODEL = {
    "frames": 6,
    "width": 8,
    "layers": 1,
    "heads": 1,
    "feedforward": 8,
    "dropout": 0.0,
    "norm": "post",
    "positions_temporal": "sinusoidal",
    "positions_spatial": "none",
    "pooling": "max",
    "modalities": MODALITIES,
    "fusion": "mean",
    "feature_norm": "batch",
}


def framework(average: bool = False, dropout: float = 0.0, **changes) -> Framework:
    torch.manual_seed(0)
    backbone = Backbone(LAYOUT, 2, BackboneSettings(**(MODEL | {"dropout": dropout})))
    objective = build_objective(backbone, terms(**({"targets.kind": "composed"} | changes)))
    views = Views(LAYOUT, MODEL["frames"], (0.3, 1.0), 4, 2, 0.5, 1.0, 0.0, 0.0, 0.0)
    return Framework(
        backbone, objective, views, centre="frame", align="first_frame", average=average
    )


def clips(count: int = 8) -> ClipBatch:
    generator = torch.Generator().manual_seed(2)
    frames = torch.randn(7 * count, 2, 4, 3, generator=generator)
    numbers = torch.arange(count)
    return ClipBatch(
        frames, 7 * torch.arange(count + 1), numbers, numbers // 4, performances=numbers // 2
    )


def step(net: Framework, batch: ClipBatch | None = None) -> dict[str, torch.Tensor]:
    return net(batch or clips(), seed=0, epoch=0, watch=True)


def shares_of(net: Framework, encoder: Backbone, names) -> torch.Tensor:
    """P of whole clips, by an encoder that uses the statistics of this batch."""
    own = normalise(clips(), LAYOUT, centre="frame", align="first_frame")
    view = whole(own, MODEL["frames"])
    features = copy.deepcopy(encoder).train().encode(dict.fromkeys(names, view))
    total = 0
    for t in features.values():
        scores = torch.cosine_similarity(t[:, None], t[None], dim=2) / 0.2
        values = scores.exp().fill_diagonal_(0)
        total = total + values / values.sum(1, keepdim=True)
    return total / len(features)


@pytest.mark.parametrize(("kind", "names"), [("composed", MODALITIES), ("self", ("fused",))])
def test_targets_are_of_whole_clips_by_batch_statistics(kind, names):
    net = framework(**{"targets.kind": kind})
    expected = shares_of(net, net.backbone, names)
    entropy = torch.special.entr(expected).sum(1).mean()
    purity = (expected * (clips().labels[:, None] == clips().labels)).sum(1).mean()
    found = step(net)
    torch.testing.assert_close(found["targets/entropy"], entropy.detach())
    torch.testing.assert_close(found["targets/perplexity"], entropy.exp().detach())
    torch.testing.assert_close(found["targets/purity"], purity.detach())


def test_targets_leave_nothing_behind():
    """Running statistics, modes, gradients and random state are those of a step without them."""
    found = []
    for kind in ("one_hot", "composed", "self"):
        net = framework(dropout=0.5, **{"targets.kind": kind})
        torch.manual_seed(3)
        step(net)
        modes = [module.training for module in net.modules()]
        norms = [m for m in net.modules() if isinstance(m, GlobalBatchNorm1d)]
        assert all(norm.track_running_stats for norm in norms)
        found.append((dict(net.named_buffers()), modes, torch.get_rng_state()))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=0, atol=0)


def test_no_gradient_flows_through_the_targets():
    """With the whole share for other clips, and relations alone, all gradient is of the views."""
    net = framework(**{"targets.own_share": 0.0})
    batch = clips()
    views = net.draw(batch, 0, 0, net.passes)
    given = net._target_inputs(views, batch)
    assert not any(feature.requires_grad for feature in given.features.values())
    views[UNAUGMENTED].requires_grad_()
    net.losses(views, clips=batch)["loss"].backward()
    assert views[UNAUGMENTED].grad is None


def test_the_average_of_the_weights_makes_the_targets_if_asked():
    net = framework(average=True, **{"targets.encoder": "average"})
    with torch.no_grad():
        for parameter in net.average.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    buffers = {name: value.clone() for name, value in net.average.named_buffers()}
    found = step(net)["targets/entropy"]
    for encoder, same in ((net.average, True), (net.backbone, False)):
        expected = torch.special.entr(shares_of(net, encoder, MODALITIES)).sum(1).mean()
        assert torch.allclose(found, expected) == same
    torch.testing.assert_close(dict(net.average.named_buffers()), buffers, rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"needs an average \(train.average.decay\)"):
        framework(**{"targets.encoder": "average"})


def test_the_mask_looks_at_performances():
    masked = {"alignment.mask_performances": True}
    pairs, plain = step(framework(**masked)), step(framework())
    alone = replace(clips(), performances=torch.arange(8))
    torch.testing.assert_close(step(framework(**masked), alone), plain, rtol=0, atol=0)
    assert pairs["loss"] < plain["loss"]
    # Each class has four clips, of which the mask takes one of three others away.
    assert pairs["targets/purity"] < plain["targets/purity"]
    with pytest.raises(ValueError, match="needs the performances"):
        step(framework(**masked), replace(clips(), performances=None))


def test_one_hot_targets_draw_no_whole_clip():
    assert framework(**{"targets.kind": "one_hot"}).passes == (*MODALITIES, "fused", "fused_other")
    assert framework().passes[-1] == UNAUGMENTED


def test_a_whole_clip_is_that_of_evaluation():
    net = framework()
    drawn = net.draw(clips(), 0, 0, net.passes)[UNAUGMENTED]
    own = normalise(clips(), LAYOUT, centre="frame", align="first_frame")
    assert torch.equal(drawn, whole(own, MODEL["frames"]))


def test_the_cost_of_a_step_counts_the_pass_of_the_targets():
    plain, soft, fused = (
        training_cost(framework(**{"targets.kind": kind}), 8)
        for kind in ("one_hot", "composed", "self")
    )
    assert plain["training_parameters"] == soft["training_parameters"]
    assert plain["training_gflops_step"] < fused["training_gflops_step"]
    assert fused["training_gflops_step"] < soft["training_gflops_step"]


def test_modes_come_back_after_an_error():
    net = framework().train()
    with pytest.raises(RuntimeError), without_traces(net):
        assert not net.backbone.training
        raise RuntimeError
    assert all(module.training for module in net.modules())
