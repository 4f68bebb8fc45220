import copy

import pytest
import torch

from models.modalities import MODALITIES
from models.objective import PASSES, Objective

WIDTH = 4
DC = {
    "decomposition": {"weight": 1.0, "module": "identity", "parts": ["whole"], "projectors": "modality"},
    "composition": {
        "weight": 1.0,
        "module": "mean",
        "guidance": "feature",
        "prototypes": {"count": 5, "temperature": 0.2, "epsilon": 0.05, "iterations": 3},
    },
    "view": {"weight": 1.0},
    "consistency": {"weight": 0.0},
    "regularisation": {"weight": 0.0},
    "alignment": {
        "loss": "infonce",
        "temperature": 0.3,
        "invariance": 5.0,
        "variance": 5.0,
        "covariance": 1.0,
        "stop_gradient": False,
    },
    "projector": {"hidden": 1.0, "output": 2.0, "layers": 3},
}
VARCOV = {"alignment.loss": "variance_covariance", "regularisation.weight": 0.5}


def objective(**changes) -> Objective:
    """With changes given as {"term.key": value}."""
    settings = copy.deepcopy(DC)
    for name, value in changes.items():
        section, key = name.split(".")
        settings[section][key] = value
    torch.manual_seed(0)
    return Objective(WIDTH, MODALITIES, **settings).double()


def features(rows: int = 6) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(rows, 2 * WIDTH, generator=generator, dtype=torch.float64, requires_grad=True)
        for name in PASSES
    }


def cross_entropy(a, b, temperature=0.3):
    a, b = a / a.norm(dim=1, keepdim=True), b / b.norm(dim=1, keepdim=True)
    s = (a @ b.T / temperature).exp()
    return -((s.diag() / s.sum(1)).log() + (s.diag() / s.sum(0)).log()).mean() / 2


def test_dc_is_the_recipe():
    """L = mean_m NCE(h_m u_m, h_m y) + 1/2 [NCE(g y, k u) + NCE(g y', k u)] + NCE(g y, g y')."""
    net, f = objective(**{"composition.weight": 0.7, "view.weight": 0.2}), features()
    losses = net(f)
    h, g, k = net.decomposition.projectors["whole"], net.fused_projector, net.guide_projector
    y, other = g(f["fused"]), g(f["fused_other"])
    guide = k((f["joint"] + f["bone"] + f["motion"]) / 3)
    expected = {
        "loss/decomposition": sum(cross_entropy(h[m](f[m]), h[m](f["fused"])) for m in MODALITIES) / 3,
        "loss/composition": (cross_entropy(y, guide) + cross_entropy(other, guide)) / 2,
        "loss/view": cross_entropy(y, other),
    }
    total = expected["loss/decomposition"] + 0.7 * expected["loss/composition"] + 0.2 * expected["loss/view"]
    torch.testing.assert_close(losses, expected | {"loss": total})
    assert not losses["loss/view"].requires_grad


def test_regularisation_meets_each_projected_tensor_once():
    net, f = objective(**VARCOV), features()
    h, g, k = net.decomposition.projectors["whole"], net.fused_projector, net.guide_projector
    guide = k((f["joint"] + f["bone"] + f["motion"]) / 3)
    projected = [h[m](f[m]) for m in MODALITIES] + [h[m](f["fused"]) for m in MODALITIES]
    projected += [g(f["fused"]), g(f["fused_other"]), guide]
    losses = net(f)
    expected = sum(net.align.regularisation(z) for z in projected) / 9
    torch.testing.assert_close(losses["loss/regularisation"], expected)
    names = ("decomposition", "composition", "view")
    torch.testing.assert_close(losses["loss"], sum(losses[f"loss/{name}"] for name in names) + 0.5 * expected)


def test_terms_of_several_parts_are_means_over_them():
    parts = ["temporal", "spatial"]
    net, f = objective(**VARCOV, **{"decomposition.parts": parts, "consistency.weight": 1.0}), features()
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
    assert set(losses) == {"loss"} | {f"loss/{name}" for name in ("decomposition", "composition", "view")} - {
        f"loss/{name}" for name in off
    }
    losses["loss"].backward()
    assert all(f[name].grad is not None for name in passes)
    # DistributedDataParallel waits for ever for a parameter that no loss reaches.
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("module", ["identity", "linear", "mlp"])
def test_every_parameter_is_reached(module, stop):
    changes = {"decomposition.module": module, "composition.module": "weights", "alignment.stop_gradient": stop}
    net, f = objective(**changes, **{"decomposition.parts": ["whole", "temporal", "spatial"]}), features()
    net(f)["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    assert all((f[m].grad is None) == stop for m in MODALITIES)
    assert f["fused"].grad.abs().min() > 0


def test_gradients_agree_with_finite_differences():
    for changes in ({}, VARCOV | {"consistency.weight": 1.0}):
        net, f = objective(**changes), features(rows=3)
        assert torch.autograd.gradcheck(
            lambda *values, net=net: net(dict(zip(PASSES, values, strict=True)))["loss"], tuple(f.values())
        )


def test_a_batch_of_one_is_refused():
    for net in (objective(), objective(**VARCOV), objective(**{"projector.layers": 1})):
        with pytest.raises(ValueError, match="at least two"):
            net(features(rows=1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decomposition.weight": 0.0, "composition.weight": 0.0, "view.weight": 0.0}, "at least one"),
        ({"view.weight": -1.0}, "view.weight must be at least 0"),
        ({"decomposition.weight": 0.0, "consistency.weight": 1.0}, "consistency.weight needs"),
        ({"regularisation.weight": 1.0}, "0 with infonce"),
        ({"alignment.loss": "variance_covariance"}, "above 0 with variance_covariance"),
    ],
)
def test_settings_that_do_not_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        objective(**changes)
