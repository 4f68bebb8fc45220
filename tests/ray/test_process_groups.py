"""1, 2 and 3 processes over gloo compute what one process with the whole batch computes.

It needs no Ray, but it starts processes, which a unit test must not do.
"""

import tempfile
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.multiprocessing import start_processes
from torch.nn.parallel import DistributedDataParallel

from models.backbone import Backbone, BackboneSettings
from models.batchnorm import GlobalBatchNorm1d
from models.choices import MODALITIES, PASSES
from models.clips import ClipBatch
from models.distributed import gather, global_sum, shares
from models.framework import UNAUGMENTED, Framework
from models.late_objective import build_objective
from models.skeleton import SkeletonLayout
from models.views import Views
from pipeline.pretrain.agreement import Agreement
from tests.helpers.objectives import terms

LAYOUT = SkeletonLayout(
    "arm", ("a", "b", "c"), (0, 0, 1), centre=0, left_shoulder=1, right_shoulder=2, mirror=()
)
MODEL = {
    "frames": 4,
    "width": 8,
    "layers": 1,
    "heads": 2,
    "feedforward": 8,
    "dropout": 0.0,
}
MODEL |= {
    "norm": "post",
    "positions_temporal": "sinusoidal",
    "positions_spatial": "learned",
    "pooling": "max",
}
MODEL |= {"modalities": MODALITIES, "fusion": "mean", "feature_norm": "none"}
TERMS = ("decomposition", "composition", "view", "consistency", "regularisation")
# What all variants have in common.
BASE = {
    "decomposition.module": "linear",
    "decomposition.parts": ["whole", "temporal"],
    "composition.module": "weights",
    "composition.prototypes.count": 4,
    "alignment.temperature": 0.2,
    "projector.output": 1.0,
}
VARIANTS = {  # weights of the terms, and what else differs from the first
    "dc": {"weights": (1.0, 0.8, 0.5, 0.0, 0.0)},
    "umurl": {"weights": (3.0, 0.0, 0.0, 3.0, 6.0), "alignment.loss": "variance_covariance"},
    "tokens": {
        "weights": (1.0, 0.8, 0.5, 0.0, 0.0),
        "model": {"fusion": "attention", "feature_norm": "batch"},
        "decomposition.module": "convolution",
        "decomposition.projectors": "shared",
        "composition.module": "attention",
        "composition.guidance": "prototypes",
    },
    "queries": {
        "weights": (1.0, 0.8, 0.0, 0.0, 0.7),
        "model": {"fusion": "concatenation"},
        "alignment.loss": "cosine",
        "decomposition.module": "attention",
        "decomposition.projectors": "separate",
        "composition.module": "mlp",
    },
    "late": {
        "weights": (0.0, 0.0, 1.0, 0.0, 0.0),
        "model": {"fusion": "late", "feature_norm": "batch"},
        "alignment.mask_performances": True,
    },
    "single": {
        "weights": (0.0, 0.0, 1.0, 0.0, 0.5),
        "model": {"modalities": ["motion"]},
        "alignment.loss": "variance_covariance",
    },
    "soft": {
        "weights": (1.0, 0.8, 0.5, 0.0, 0.0),
        "model": {"feature_norm": "batch"},
        "part_weights.temporal": 0.5,
        "view.parts": ["spatial", "whole"],
        "targets.kind": "composed",
        "alignment.mask_performances": True,
    },
    "relations": {
        "weights": (1.0, 0.8, 0.5, 0.0, 0.7),
        "model": {"feature_norm": "batch"},
        "alignment.loss": "variance_covariance",
        "composition.guidance": "relations",
        "composition.relations.of": "feature",
        "composition.parts": ["temporal", "whole"],
        "targets.kind": "self",
        "targets.temperature": None,
        "targets.perplexity": 2.0,
    },
}
ROWS = (7, 3)  # shares of 4 + 3 and 3 + 2 + 2; 2 + 1 and 1 + 1 + 1


class Step(nn.Module):
    """What DistributedDataParallel wraps: a framework, in float64 so that only real differences
    show.
    """

    def __init__(self, weights, model=None, **changes):
        super().__init__()
        torch.manual_seed(0)
        backbone = Backbone(LAYOUT, 1, BackboneSettings(**(MODEL | (model or {}))))
        of_terms = {f"{term}.weight": value for term, value in zip(TERMS, weights, strict=True)}
        objective = build_objective(backbone, terms(**(BASE | of_terms | changes)))
        views = Views(LAYOUT, MODEL["frames"], (0.5, 1.0), 1, 1, 0.5, 0.5, 0.0, 0.0, 0.0)
        self.framework = Framework(backbone, objective, views, centre="frame", align="none")
        self.double()

    def forward(
        self, views: dict[str, torch.Tensor], clips: ClipBatch | None
    ) -> dict[str, torch.Tensor]:
        return self.framework.losses(views, watch=True, clips=clips)


def own(x: torch.Tensor, rank: int, world: int) -> torch.Tensor:
    return x.tensor_split(world)[rank]


def batch(rows: int, rank: int, world: int) -> ClipBatch:
    """A share of clips of two frames, of which pairs are of one performance and of one class."""
    frames = torch.randn(rows, 2, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    numbers = torch.arange(rows)
    mine = [own(x, rank, world) for x in (frames, numbers, numbers // 2, numbers // 2 % 2)]
    frames, ids, performances, labels = mine
    return ClipBatch(
        frames.flatten(0, 1),
        2 * torch.arange(len(ids) + 1),
        ids,
        labels,
        performances=performances,
    )


def step(name: str, rows: int, rank: int = 0, world: int = 1) -> dict[str, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(rows)
    model = Step(**VARIANTS[name])
    names = (*PASSES, UNAUGMENTED)
    views = {p: torch.randn(rows, 4, 1, 3, 3, generator=generator).double() for p in names}
    views = {p: own(views[p], rank, world) for p in model.framework.passes}
    trained = DistributedDataParallel(model) if world > 1 else model
    # There is no batch of no clip, but there are views of none.
    clips = batch(rows, rank, world) if rows >= world else None
    losses = trained(views, clips)
    losses["loss"].backward()
    gradients = {n: p.grad for n, p in model.named_parameters()}
    return {
        "losses": {n: v.detach() for n, v in losses.items()},
        "gradients": gradients,
        "buffers": dict(model.named_buffers()),
    }


def monitors(rank: int = 0, world: int = 1) -> dict[str, float]:
    """A watched step on nine clips of two frames each, by the framework of the first variant."""
    framework = Step(**VARIANTS["dc"]).float().framework
    clips = batch(9, rank, world)
    return {
        name: value.item() for name, value in framework(clips, seed=0, epoch=0, watch=True).items()
    }


def work(rank: int, world: int, folder: str) -> None:
    """All that needs a process group, in one group: starting processes is what takes the time."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=world)
    results = {(name, rows): step(name, rows, rank, world) for name in VARIANTS for rows in ROWS}

    results["monitors"] = monitors(rank, world)

    share = own(torch.arange(14.0).view(7, 2), rank, world).requires_grad_()
    results["shares"] = shares(len(share), share.device)
    rows = gather(share)
    results["gather"] = rows.detach()
    rows.square().sum().backward()  # the same on all workers
    results["gather gradient"] = (share.detach(), share.grad)
    results["gather bfloat16"] = gather(share.detach().bfloat16(), results["shares"])

    # The last worker alone is asked, while the third update is computed.
    updates = iter(range(10))
    agreement = Agreement(lambda: rank == world - 1 and next(updates) >= 3, torch.device("cpu"))
    results["stops after"] = next(done for done in range(10) if agreement.reached())

    x = torch.tensor([1.0 + rank, 2.0], requires_grad=True)
    total = global_sum(x)
    ((rank + 1) * total.square()).sum().backward()  # a use of its own on each worker
    results["sum"] = (total.detach(), x.grad)

    norm = GlobalBatchNorm1d(2)
    results["norm"] = (norm(share.detach()), norm.running_mean, norm.running_var)

    for rows in {1, max(1, world - 1)}:
        try:
            step("dc", rows, rank, world)
        except ValueError as error:
            results["refused", rows] = str(error)
    torch.save(results, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module", params=[1, 2, 3])
def workers(request) -> list[dict]:
    """What each worker of a group found."""
    with tempfile.TemporaryDirectory() as folder:
        # Processes forked from one that has imported torch: each would take a second to do so.
        get_context("forkserver").set_forkserver_preload([__name__])
        start_processes(work, (request.param, folder), request.param, start_method="forkserver")
        return [torch.load(Path(folder) / f"{rank}.pt") for rank in range(request.param)]


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("name", VARIANTS)
def test_losses_and_gradients_are_those_of_the_whole_batch(workers, name, rows):
    expected = step(name, rows)
    assert any(g.abs().max() > 1e-3 for g in expected["gradients"].values())
    for found in workers:
        torch.testing.assert_close(found[name, rows], expected, rtol=1e-9, atol=1e-12)


def test_watched_steps_say_what_the_targets_are():
    found = step("soft", 7)["losses"]
    assert {"targets/entropy", "targets/perplexity", "targets/purity"} < set(found)


def test_monitors_are_those_of_the_whole_batch(workers):
    expected = monitors()
    assert set(expected) > {
        "collapse/effective_rank",
        "collapse/alignment",
        "decomposition/motion",
        "loss",
    }
    for found in workers:
        assert found["monitors"] == pytest.approx(expected, rel=1e-4)


def test_gather(workers):
    world = len(workers)
    whole = torch.arange(14.0).view(7, 2)
    for found in workers:
        assert found["shares"] == [len(x) for x in whole.tensor_split(world)]
        assert torch.equal(found["gather"], whole)
        assert torch.equal(found["gather bfloat16"], whole.bfloat16())
        share, gradient = found["gather gradient"]
        assert torch.equal(
            gradient, world * 2 * share
        )  # the derivative of the sum of the workers' losses


def test_global_sum(workers):
    world = len(workers)
    expected = torch.tensor([world + world * (world - 1) / 2, 2.0 * world])
    for found in workers:
        total, gradient = found["sum"]
        assert torch.equal(total, expected)
        assert torch.equal(gradient, 2 * expected * sum(range(1, world + 1)))


def test_batch_statistics_are_those_of_the_whole_batch(workers):
    reference = nn.BatchNorm1d(2)
    expected = reference(torch.arange(14.0).view(7, 2))
    torch.testing.assert_close(torch.cat([found["norm"][0] for found in workers]), expected)
    for found in workers:
        torch.testing.assert_close(found["norm"][1], reference.running_mean)
        torch.testing.assert_close(found["norm"][2], reference.running_var)
        assert torch.equal(found["norm"][2], workers[0]["norm"][2])


def test_all_workers_stop_after_the_same_update(workers):
    # One worker alone has nobody to ask, and stops at once; others one update later.
    expected = 3 if len(workers) == 1 else 4
    assert [found["stops after"] for found in workers] == [expected] * len(workers)


def test_too_few_clips_are_refused_by_each_worker(workers):
    assert all("at least two" in found["refused", 1] for found in workers)
    if len(workers) == 3:
        assert all("without any" in found["refused", 2] for found in workers)
