from itertools import product

import pytest
import torch

from models.choices import (
    COMPOSITION_MODULES,
    DECOMPOSITION_MODULES,
    MODALITIES,
    PASSES,
    PROJECTORS,
)
from models.decomposition import OF_TOKENS
from models.late_objective import LateObjective
from models.objective import Objective
from tests.helpers.objectives import VARCOV, terms

WIDTH = 4


def objective(**changes) -> Objective:
    """With changes given as {"term.key": value}."""
    torch.manual_seed(0)
    return Objective(WIDTH, MODALITIES, terms(**changes)).double()


def heads(net: Objective):
    """h, g and k of the whole feature."""
    guide = net.guide_projectors["whole"]
    return net.decomposition.projectors["whole"], net.fused_projectors["whole"], guide


def features(rows: int = 6) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(
            rows, 2 * WIDTH, generator=generator, dtype=torch.float64, requires_grad=True
        )
        for name in PASSES
    }


def tokens(rows: int = 6) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(2)
    return {
        "fused": tuple(
            torch.randn(
                rows, count, WIDTH, generator=generator, dtype=torch.float64, requires_grad=True
            )
            for count in (3, 5)
        )
    }


def cross_entropy(a, b, temperature=0.3):
    a, b = a / a.norm(dim=1, keepdim=True), b / b.norm(dim=1, keepdim=True)
    s = (a @ b.T / temperature).exp()
    return -((s.diag() / s.sum(1)).log() + (s.diag() / s.sum(0)).log()).mean() / 2


def test_dc_is_the_recipe():
    """L = mean_m NCE(h_m u_m, h_m y) + 1/2 [NCE(g y, k u) + NCE(g y', k u)] + NCE(g y, g y')."""
    net, f = objective(**{"composition.weight": 0.7, "view.weight": 0.2}), features()
    losses = net(f)
    h, g, k = heads(net)
    y, other = g(f["fused"]), g(f["fused_other"])
    guide = k((f["joint"] + f["bone"] + f["motion"]) / 3)
    expected = {
        "loss/decomposition": sum(cross_entropy(h[m](f[m]), h[m](f["fused"])) for m in MODALITIES)
        / 3,
        "loss/composition": (cross_entropy(y, guide) + cross_entropy(other, guide)) / 2,
        "loss/view": cross_entropy(y, other),
    }
    total = (
        expected["loss/decomposition"]
        + 0.7 * expected["loss/composition"]
        + 0.2 * expected["loss/view"]
    )
    torch.testing.assert_close(losses, expected | {"loss": total})
    assert not losses["loss/view"].requires_grad


def test_regularisation_meets_each_projected_tensor_once():
    net, f = objective(**VARCOV), features()
    h, g, k = heads(net)
    guide = k((f["joint"] + f["bone"] + f["motion"]) / 3)
    projected = [h[m](f[m]) for m in MODALITIES] + [h[m](f["fused"]) for m in MODALITIES]
    projected += [g(f["fused"]), g(f["fused_other"]), guide]
    losses = net(f)
    expected = sum(net.align.regularisation(z) for z in projected) / 9
    torch.testing.assert_close(losses["loss/regularisation"], expected)
    names = ("decomposition", "composition", "view")
    torch.testing.assert_close(
        losses["loss"], sum(losses[f"loss/{name}"] for name in names) + 0.5 * expected
    )


def test_terms_of_several_parts_are_means_over_them():
    parts = ["temporal", "spatial"]
    net, f = (
        objective(**VARCOV, **{"decomposition.parts": parts, "consistency.weight": 1.0}),
        features(),
    )
    halves = {"temporal": slice(0, WIDTH), "spatial": slice(WIDTH, None)}
    decomposition = consistency = 0
    for part in parts:
        h = net.decomposition.projectors[part]
        z = {m: h[m](f[m][:, halves[part]]) for m in MODALITIES}
        centre = (z["joint"] + z["bone"] + z["motion"]) / 3
        for m in MODALITIES:
            decomposition += 5 * (z[m] - h[m](f["fused"][:, halves[part]])).square().mean() / 6
            consistency += 5 * (z[m] - centre).square().mean() / 6
    losses = net(f)
    torch.testing.assert_close(losses["loss/decomposition"], decomposition)
    torch.testing.assert_close(losses["loss/consistency"], consistency)


@pytest.mark.parametrize(
    ("off", "passes"),
    [
        ((), PASSES),
        (("view",), PASSES[:4]),
        (("view", "composition"), PASSES[:4]),
        (("decomposition",), PASSES),
        (("decomposition", "composition"), ("fused", "fused_other")),
    ],
)
def test_terms_without_weight_cost_no_pass_and_no_parameters(off, passes):
    net, f = objective(**{f"{name}.weight": 0.0 for name in off}), features()
    assert net.passes == passes
    losses = net({name: f[name] for name in passes})
    assert set(losses) == {"loss"} | {
        f"loss/{name}" for name in ("decomposition", "composition", "view")
    } - {f"loss/{name}" for name in off}
    losses["loss"].backward()
    assert all(f[name].grad is not None for name in passes)
    # DistributedDataParallel waits for ever for a parameter that no loss reaches.
    assert all(p.grad is not None for p in net.parameters())


def test_prototypes_as_guidance():
    """The composition term is the swapped prediction of g y, g y' and k c; the others stay as they
    are.
    """
    net, f = objective(**{"composition.guidance": "prototypes"}), features()
    feature = objective()
    feature.load_state_dict(
        {k: v for k, v in net.state_dict().items() if not k.startswith("prototypes.")}
    )
    _, g, k = heads(net)
    y, other = (g(f[name]) for name in ("fused", "fused_other"))
    guide = k((f["joint"] + f["bone"] + f["motion"]) / 3)
    predict = net.prototypes["whole"]
    expected = {"loss/composition": (predict(y, guide) + predict(other, guide)) / 2}
    expected |= {f"loss/{name}": feature(f)[f"loss/{name}"] for name in ("decomposition", "view")}
    losses = net(f)
    torch.testing.assert_close(losses, expected | {"loss": sum(expected.values())})
    assert predict.prototypes.shape == (5, 4 * WIDTH)


@pytest.mark.parametrize("guidance", ["feature", "prototypes"])
@pytest.mark.parametrize("composition", COMPOSITION_MODULES)
@pytest.mark.parametrize("module", DECOMPOSITION_MODULES)
def test_every_combination_trains_all_it_has(module, composition, guidance):
    """Finite losses, and gradients for every weight: DistributedDataParallel waits for what gets
    none.
    """
    modules = {
        "decomposition.module": module,
        "composition.module": composition,
        "composition.guidance": guidance,
    }
    parts = {"decomposition.parts": ["whole", "spatial"], "projector.layers": 2}
    for loss, projectors in product(("infonce", "variance_covariance", "cosine"), PROJECTORS):
        stop = loss == "infonce" if projectors == "modality" else projectors == "shared"
        others = {
            "alignment.loss": loss,
            "decomposition.projectors": projectors,
            "alignment.stop_gradient": stop,
        }
        others["regularisation.weight"] = float(loss != "infonce")
        net, f, of_y = objective(**modules, **parts, **others), features(), tokens()
        losses = net(f, of_y)
        losses["loss"].backward()
        assert all(value.isfinite() for value in losses.values())
        for name, parameter in net.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
            assert parameter.ndim == 1 or parameter.grad.any(), name
        assert all((f[m].grad is None) == stop for m in MODALITIES)
        assert f["fused"].grad.abs().min() > 0
        assert all((x.grad is not None) == (module in OF_TOKENS) for x in of_y["fused"])


def test_two_modalities():
    torch.manual_seed(0)
    net = Objective(
        WIDTH, ("joint", "motion"), terms(**{"decomposition.module": "attention"})
    ).double()
    assert net.passes == ("joint", "motion", "fused", "fused_other")
    f = {name: value for name, value in features().items() if name != "bone"}
    losses = net(f, tokens())
    losses["loss"].backward()
    assert all(p.grad is not None for p in net.parameters())
    _, g, k = heads(net)
    guide = k((f["joint"] + f["motion"]) / 2)
    y = [g(f[name]) for name in ("fused", "fused_other")]
    torch.testing.assert_close(
        losses["loss/composition"], sum(cross_entropy(x, guide) for x in y).detach() / 2
    )


VIEW_ALONE = {"decomposition.weight": 0.0, "composition.weight": 0.0}


def test_late_objectives_are_those_of_the_networks_alone():
    parts = {m: slice(8 * i, 8 * i + 8) for i, m in enumerate(MODALITIES)}
    torch.manual_seed(0)
    late = LateObjective(WIDTH, parts, terms(**VIEW_ALONE)).double()
    assert late.passes == ("fused", "fused_other")
    own = {m: features(rows=n + 6) for n, m in enumerate(MODALITIES)}  # others for each
    f = {name: torch.cat([own[m][name][:6] for m in MODALITIES], dim=1) for name in late.passes}
    losses, total = late(f, {}), 0
    for m in MODALITIES:
        alone = objective(**VIEW_ALONE)
        alone.load_state_dict(late.objectives[m].state_dict())
        total = total + alone({name: own[m][name][:6] for name in late.passes})["loss"]
    torch.testing.assert_close(losses["loss"], total)
    torch.testing.assert_close(losses["loss/view"], total.detach())
    with pytest.raises(ValueError, match=r"model\.fusion=late"):
        LateObjective(WIDTH, parts, terms())


def test_what_is_taken_apart_is_what_decomposition_compares():
    net, f = objective(**{"decomposition.parts": ["temporal", "whole"]}).eval(), features()
    plain, watched = net(f), net(f, tokens(), watch=True)
    assert watched.keys() - plain.keys() == {f"decomposition/{m}" for m in MODALITIES}
    torch.testing.assert_close({name: watched[name] for name in plain}, plain, rtol=0, atol=0)
    targets, predictions = net.decomposition(f, f["fused"])
    for i, m in enumerate(MODALITIES):
        each = [
            torch.cosine_similarity(predictions[part][i][n], targets[part][i][n], dim=0)
            for part in ("temporal", "whole")
            for n in range(6)
        ]
        torch.testing.assert_close(watched[f"decomposition/{m}"], torch.stack(each).mean().detach())
    assert objective(**VIEW_ALONE)(f, watch=True).keys() == {"loss", "loss/view"}


def test_gradients_agree_with_finite_differences():
    for changes in ({}, VARCOV | {"consistency.weight": 1.0}):
        net, f = objective(**changes), features(rows=3)
        assert torch.autograd.gradcheck(
            lambda *values, net=net: net(dict(zip(PASSES, values, strict=True)))["loss"],
            tuple(f.values()),
        )


def test_a_batch_of_one_is_refused():
    for net in (objective(), objective(**VARCOV), objective(**{"projector.layers": 1})):
        with pytest.raises(ValueError, match="at least two"):
            net(features(rows=1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"decomposition.weight": 0.0, "composition.weight": 0.0, "view.weight": 0.0},
            "at least one",
        ),
        ({"view.weight": -1.0}, "view.weight must be at least 0"),
        ({"decomposition.weight": 0.0, "consistency.weight": 1.0}, "consistency.weight needs"),
        ({"regularisation.weight": 1.0}, "0 with infonce"),
        ({"alignment.loss": "variance_covariance"}, "above 0 with variance_covariance"),
        ({"alignment.loss": "cosine"}, "above 0 with variance_covariance and cosine"),
        ({"composition.guidance": "label"}, "one of feature, prototypes, relations, got label"),
    ],
)
def test_settings_that_do_not_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        objective(**changes)


def test_one_modality_has_nothing_to_take_apart():
    for changes in ({"decomposition.weight": 0.0}, {"composition.weight": 0.0}):
        with pytest.raises(ValueError, match="need a network that takes several modalities"):
            Objective(WIDTH, ["joint"], terms(**changes))
    assert Objective(WIDTH, ["joint"], terms(**VIEW_ALONE)).passes == ("fused", "fused_other")
