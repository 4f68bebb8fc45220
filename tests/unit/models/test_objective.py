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
from models.soft_targets import TargetInputs
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
    for kind in ("composed", "self"):
        with pytest.raises(ValueError, match=r"model\.fusion=late"):
            LateObjective(WIDTH, parts, terms(**VIEW_ALONE, **{"targets.kind": kind}))


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


# -- soft targets


def whole_features(rows: int = 6) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    names = (*MODALITIES, "fused")
    return {m: torch.randn(rows, 2 * WIDTH, generator=generator).double() for m in names}


def literal_shares(features, temperature: float) -> torch.Tensor:
    """P, row by row: the mean over the features of a softmax over the other clips."""
    rows = []
    for i in range(len(features[0])):
        of_features = []
        for t in features:
            cosines = torch.stack([torch.cosine_similarity(t[i], other, dim=0) for other in t])
            values = (cosines / temperature).exp()
            values[i] = 0
            of_features.append(values / values.sum())
        rows.append(sum(of_features) / len(features))
    return torch.stack(rows)


def soft_cross_entropy(a, b, weights, temperature=0.3):
    """l(a, b) with W given."""
    total = 0
    for x, y in ((a, b), (b, a)):
        scores = torch.cosine_similarity(x[:, None], y[None], dim=2) / temperature
        logs = scores - scores.exp().sum(1, keepdim=True).log()
        total = total - (weights * logs).sum(1).mean() / 2
    return total


def inputs(net: Objective) -> TargetInputs:
    whole = whole_features()
    return TargetInputs({name: whole[name] for name in net.target_passes})


@pytest.mark.parametrize("kind", ["composed", "self"])
def test_soft_targets_are_the_recipe(kind):
    """L = mean_m l(h_m y, h_m u_m) + 1/2 sum over y, y' of l(g y, k c) + l(g y, g y')."""
    net, f = objective(**{"targets.kind": kind, "targets.own_share": 0.4}), features()
    names = MODALITIES if kind == "composed" else ("fused",)
    assert net.target_passes == tuple(names)
    shares = literal_shares([whole_features()[name] for name in names], 0.2)
    weights = 0.4 * torch.eye(6) + 0.6 * shares
    h, g, k = heads(net)
    y, other = g(f["fused"]), g(f["fused_other"])
    guide = k((f["joint"] + f["bone"] + f["motion"]) / 3)
    of_modalities = [soft_cross_entropy(h[m](f["fused"]), h[m](f[m]), weights) for m in MODALITIES]
    expected = {
        "loss/decomposition": sum(of_modalities) / 3,
        "loss/composition": (
            soft_cross_entropy(y, guide, weights) + soft_cross_entropy(other, guide, weights)
        )
        / 2,
        "loss/view": soft_cross_entropy(y, other, weights),
    }
    losses = net(f, inputs=inputs(net))
    torch.testing.assert_close(losses, expected | {"loss": sum(expected.values())})


@pytest.mark.parametrize("kind", ["composed", "self"])
def test_with_the_whole_share_for_itself_nothing_changes(kind):
    """Not one bit, of losses and of gradients; and no further input is encoded."""
    found = []
    for changes in ({}, {"targets.kind": kind, "targets.own_share": 1.0}):
        net, f = objective(**changes), features()
        assert net.target_passes == ()
        losses = net(f)
        losses["loss"].backward()
        gradients = [p.grad for p in net.parameters()]
        found.append((losses, gradients, [value.grad for value in f.values()]))
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0)


@pytest.mark.parametrize("of", ["projection", "feature"])
@pytest.mark.parametrize("parts", [["whole"], ["temporal", "whole"]])
def test_relations_as_guidance(of, parts):
    """Decomposition and view stay as they are; composition compares y and y' with P alone."""
    changes = VARCOV | {"composition.parts": parts, "part_weights.temporal": 0.5}
    changes |= {"composition.guidance": "relations", "composition.relations.of": of}
    net, f = objective(**changes, **{"targets.kind": "composed"}), features()
    assert not hasattr(net, "composition")
    shares = literal_shares([whole_features()[m] for m in MODALITIES], 0.2)
    values = []
    for part in parts:
        columns = slice(0, WIDTH) if part == "temporal" else slice(0, None)
        for name in ("fused", "fused_other"):
            x = f[name][:, columns]
            if of == "projection":
                x = net.fused_projectors[part](x)
            loss = 0
            for i in range(6):
                others = [j for j in range(6) if j != i]
                scores = torch.stack([torch.cosine_similarity(x[i], x[j], dim=0) for j in others])
                logs = scores / 0.3 - (scores / 0.3).exp().sum().log()
                loss = loss - (shares[i, others] * logs).sum() / 6
            values.append((loss, 0.5 if part == "temporal" else 1.0))
    losses = net(f, inputs=inputs(net))
    total = sum(weight for _, weight in values)
    expected = sum(weight * loss for loss, weight in values) / total
    torch.testing.assert_close(losses["loss/composition"], expected.detach())
    count = 3 + 3 + 2 * len(net.fused_projectors)
    assert list(net.fused_projectors) == (parts if of == "projection" else ["whole"])
    projected = [z for _, z in net._project(f, None).projected()]
    assert len(projected) == count
    losses["loss"].backward()
    assert all(p.grad is not None for p in net.parameters())


def test_relations_alone_need_no_pass_of_a_modality():
    changes = {"composition.guidance": "relations", "decomposition.weight": 0.0}
    net = objective(**changes, **{"targets.kind": "composed"})
    assert net.passes == ("fused", "fused_other")
    assert net.target_passes == MODALITIES


# -- parts


def test_every_term_weighs_its_parts():
    """Variance and covariance for the whole and both streams, 1 : 1/2 : 1/2, as `dc_vc` has it."""
    parts = ["whole", "temporal", "spatial"]
    changes = {f"{term}.parts": parts for term in ("decomposition", "composition", "view")}
    weights = {"whole": 1.0, "temporal": 0.5, "spatial": 0.5}
    changes |= {f"part_weights.{part}": weight for part, weight in weights.items()}
    net, f = objective(**VARCOV, **changes, **{"consistency.weight": 1.0}), features()
    columns = {"whole": slice(0, None), "temporal": slice(0, WIDTH), "spatial": slice(WIDTH, None)}
    guide = (f["joint"] + f["bone"] + f["motion"]) / 3
    names = ("decomposition", "consistency", "composition", "view", "regularisation")
    expected = dict.fromkeys((f"loss/{name}" for name in names), 0)
    for part, weight in weights.items():
        cut = columns[part]
        h, g = net.decomposition.projectors[part], net.fused_projectors[part]
        k = net.guide_projectors[part](guide[:, cut])
        z = [h[m](f[m][:, cut]) for m in MODALITIES]
        of_y = [h[m](f["fused"][:, cut]) for m in MODALITIES]
        y, other = g(f["fused"][:, cut]), g(f["fused_other"][:, cut])
        error = lambda a, b: 5 * (a - b).square().mean()  # noqa: E731
        terms_of_part = {
            "decomposition": sum(map(error, z, of_y)) / 3,
            "consistency": sum(error(x, sum(z) / 3) for x in z) / 3,
            "composition": (error(y, k) + error(other, k)) / 2,
            "view": error(y, other),
            "regularisation": sum(net.align.regularisation(x) for x in (*z, *of_y, y, other, k))
            / 9,
        }
        for name, value in terms_of_part.items():
            expected[f"loss/{name}"] += weight / 2 * value.detach()
    losses = net(f)
    torch.testing.assert_close({name: losses[name] for name in expected}, expected)
    losses["loss"].backward()
    assert all(p.grad is not None and p.grad.any() for p in net.parameters() if p.ndim > 1)


def test_equal_weights_of_parts_are_a_plain_mean():
    """To the last bit, whatever the weights are; with others the loss is another one."""
    parts = {"decomposition.parts": ["temporal", "whole"], "view.parts": ["whole", "spatial"]}
    found = []
    for weight in (1.0, 0.3):
        equal = {f"part_weights.{part}": weight for part in ("temporal", "spatial", "whole")}
        found.append(objective(**parts, **equal)(features()))
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0)
    other = objective(**parts, **{"part_weights.whole": 2.0})(features())
    assert other["loss"] != found[0]["loss"]


def test_parts_of_prototypes():
    changes = {"composition.guidance": "prototypes", "composition.parts": ["spatial", "temporal"]}
    net, f = objective(**changes), features()
    assert list(net.prototypes) == list(net.guide_projectors) == ["spatial", "temporal"]
    assert list(net.fused_projectors) == ["spatial", "temporal", "whole"]
    net(f)["loss"].backward()
    assert all(p.grad is not None for p in net.parameters())


def test_weights_of_an_older_version_are_taken_over():
    """It had one projector of the fused feature, one of the composed one, and one `guide`."""
    net = objective(**{"composition.guidance": "prototypes"})
    older = {}
    for name, value in net.state_dict().items():
        for former, new in (
            ("fused_projector", "fused_projectors.whole"),
            ("guide_projector", "guide_projectors.whole"),
            ("guide", "prototypes.whole"),
        ):
            if name.startswith(f"{new}."):
                name = name.replace(new, former)
        older[name] = value + 1
    assert "guide.prototypes" in older
    holder = torch.nn.ModuleDict({"objective": net})
    holder.load_state_dict({f"objective.{name}": value for name, value in older.items()})
    before = [value - 1 for value in net.state_dict().values()]
    torch.testing.assert_close(before, [value - 1 for value in older.values()], rtol=0, atol=0)


def test_a_batch_of_one_is_refused():
    for net in (objective(), objective(**VARCOV), objective(**{"projector.layers": 1})):
        with pytest.raises(ValueError, match="at least two"):
            net(features(rows=1))


ONLY_COMPOSITION = {"decomposition.weight": 0.0, "view.weight": 0.0}
ONLY_PROTOTYPES = ONLY_COMPOSITION | {"composition.guidance": "prototypes"}
ONLY_RELATIONS = ONLY_COMPOSITION | {
    "composition.guidance": "relations",
    "composition.relations.of": "feature",
    "targets.kind": "composed",
}


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
        ({"composition.relations.of": "token"}, "one of projection, feature, got token"),
        ({"part_weights.spatial": 0.0}, "part_weights.spatial must be above 0"),
        ({"view.parts": ["arm"]}, "view.parts must be different ones of"),
        ({"composition.parts": []}, "composition.parts must be different ones of"),
        (VARCOV | {"targets.kind": "composed"}, "targets.kind=composed needs"),
        (VARCOV | {"alignment.mask_performances": True}, "mask_performances needs"),
        (ONLY_PROTOTYPES | {"targets.kind": "composed"}, "targets.kind=composed needs"),
        (ONLY_PROTOTYPES | {"alignment.mask_performances": True}, "mask_performances needs"),
        (VARCOV | ONLY_RELATIONS, "regularisation.weight needs projections"),
        ({"composition.guidance": "relations"}, "needs targets.kind=composed or self"),
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
    with pytest.raises(ValueError, match="with one alone, take self"):
        Objective(WIDTH, ["joint"], terms(**VIEW_ALONE, **{"targets.kind": "composed"}))
    alone = Objective(WIDTH, ["joint"], terms(**VIEW_ALONE, **{"targets.kind": "self"}))
    assert alone.target_passes == ("fused",)
