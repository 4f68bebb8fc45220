"""The objectives as they are shipped, each chosen by its name alone, at tiny sizes."""

from itertools import product

import pytest
import torch

from models.choices import FUSIONS, MODALITIES
from models.clips import ClipBatch
from models.framework import Framework, build
from models.modalities import modality
from pipeline.config.compose import groups, load
from pipeline.config.model import Model
from pipeline.encoder.build import build_framework, layout_of

SIZES = [
    "model.width=8",
    "model.heads=2",
    "model.feedforward=8",
    "model.frames=6",
    "views.min_frames=4",
]
SIZES += ["objective.composition.prototypes.count=5"]
FEATURE = 2 * 8


def shipped(name: str, *overrides: str) -> Framework:
    return build_framework(load([f"objective={name}", *SIZES, *overrides])).double()


def clips() -> ClipBatch:
    frames = torch.randn(45, 2, 25, 3, generator=torch.Generator().manual_seed(2))
    return ClipBatch(frames, 9 * torch.arange(6), torch.arange(5), torch.full((5,), -1))


def step(net: Framework) -> dict[str, torch.Tensor]:
    views = {name: view.double() for name, view in net.draw(clips(), 0, 0, net.passes).items()}
    losses = net.losses(views)
    losses["loss"].backward()
    return losses


def views() -> torch.Tensor:
    return torch.randn(
        4, 6, 2, 25, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )


ALL = (*MODALITIES, "fused", "fused_other")
PASSES = dict.fromkeys(
    ("dc", "dc_feature", "dc_vc", "sce", "sce_self", "umurl_dc", "vicrel", "vicrel_feature"), ALL
)
PASSES |= {"umurl": (*MODALITIES, "fused")}
WIDTHS = {"late": 3 * FEATURE}


@pytest.mark.parametrize("name", groups()["objective"])
def test_every_shipped_objective_trains_all_it_has(name):
    net = shipped(name)
    assert load([f"objective={name}"]).objective.name == name
    assert net.objective.passes == PASSES.get(name, ("fused", "fused_other"))
    losses = step(net)
    assert all(value.isfinite() for value in losses.values())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    net.eval()
    assert (
        net.backbone.features(views()).shape
        == (4, WIDTHS.get(name, FEATURE))
        == (4, net.backbone.feature_width)
    )


@pytest.mark.parametrize("name", MODALITIES)
def test_a_single_modality_sees_nothing_else(name):
    """Another view with the same bones, or motion, has the same features; another joint, or bone,
    has others.
    """
    net = shipped(f"single_{name}").eval().backbone
    view = views()
    moved = {
        "joint": view.clone(),
        "bone": view + torch.arange(6.0)[:, None, None, None],  # all joints of a frame alike
        "motion": view + torch.arange(25.0)[:, None],  # a joint alike in all frames
    }
    for changed, other in moved.items():
        alike = torch.allclose(modality(name, view, net.layout), modality(name, other, net.layout))
        assert torch.allclose(net.features(other), net.features(view)) == alike
        assert alike == (changed in ("joint", name))


def test_late_fusion_is_the_three_single_modalities_trained_side_by_side():
    """The same features, loss and gradients as those of the three singles with the same weights."""
    late = shipped("late")
    losses = step(late)
    total = 0
    for name in MODALITIES:
        single = shipped(f"single_{name}")
        own = {
            key.replace(f"temporal.{name}.", "temporal.")
            .replace(f"spatial.{name}.", "spatial.")
            .replace(f"objectives.{name}.", ""): value
            for key, value in late.named_parameters()
        }
        single.load_state_dict(
            {key: own[key] for key, _ in single.named_parameters()}, strict=False
        )
        total = total + step(single)["loss"]
        for key, parameter in single.named_parameters():
            torch.testing.assert_close(own[key].grad, parameter.grad)
        part = late.backbone.parts[name]
        torch.testing.assert_close(
            late.backbone.features(views())[:, part], single.backbone.features(views())
        )
    torch.testing.assert_close(losses["loss"], total)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_encoder_trains_with_every_setting(fusion):
    taken = ["objective.decomposition.module=attention", "model.modalities=[joint,motion]"]
    config = load(
        ["objective=late", *SIZES] if fusion == "late" else ["objective=dc", *SIZES, *taken]
    )
    sections = {
        "objective": config.objective,
        "views": config.views,
        "normalise": config.data.normalise,
    }
    settings = {name: section.model_dump() for name, section in sections.items()}
    model = config.model.model_dump() | {"layers": 2, "fusion": fusion}
    for norm, pooling, positions in product(
        ("post", "pre"), ("max", "mean"), ("none", "sinusoidal", "learned")
    ):
        torch.manual_seed(0)
        changed = {"norm": norm, "pooling": pooling, "positions_temporal": positions}
        net = build(
            layout_of(config.data.seen_skeleton), 2, model=model | changed, **settings
        ).double()
        assert step(net)["loss"].isfinite()
        for name, parameter in net.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
            assert parameter.ndim == 1 or parameter.grad.any(), name


def test_an_encoder_of_before_the_choice_of_modalities_is_one_that_fuses_all_three():
    model = load(["objective=dc", "model.feature_norm=none"]).model
    assert Model(**model.model_dump(exclude={"modalities", "fusion", "feature_norm"})) == model
    assert {
        name.split(".")[1]
        for name in shipped("dc").backbone.temporal.state_dict()
        if "embedding" in name
    } == {*MODALITIES}
    assert "fusion.weight" in shipped("dc").backbone.temporal.state_dict()
