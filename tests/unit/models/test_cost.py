import pytest
import torch
from torch import nn

from models.backbone import Backbone, BackboneSettings
from models.choices import MODALITIES
from models.cost import cost, flops, training_cost
from models.framework import Framework
from models.late_objective import LateObjective, build_objective
from models.objective import Objective
from models.skeleton import SkeletonLayout
from models.views import Views
from tests.helpers.objectives import VARCOV, terms

JOINTS = tuple(str(i) for i in range(25))
LAYOUT = SkeletonLayout(
    "25 joints", JOINTS, (0, *range(24)), centre=0, left_shoulder=1, right_shoulder=2, mirror=()
)


SETTINGS = {
    "heads": 1,
    "dropout": 0.0,
    "norm": "post",
    "positions_temporal": "none",
    "positions_spatial": "none",
    "pooling": "max",
    "modalities": MODALITIES,
    "fusion": "mean",
    "feature_norm": "none",
}


def reference(layers: int, **changes) -> Backbone:
    """UmURL's network, without memory for its weights."""
    sizes = {"frames": 64, "width": 1024, "layers": layers, "feedforward": 1024}
    with torch.device("meta"):
        return Backbone(LAYOUT, 2, BackboneSettings(**(SETTINGS | sizes | changes)))


def closed_form(layers: int, inputs: int) -> float:
    """GFLOPs of `inputs` modalities fused: two for every weight a token meets, and attention's
    products.
    """
    width = 1024
    embedding = transformer = fusion = 0
    for tokens, values in ((64, 2 * 25 * 3), (2 * 25, 64 * 3)):
        embedding += 2 * tokens * (values + width) * width
        fusion += 2 * tokens * width * width
        transformer += layers * (2 * tokens * 6 * width * width + 2 * 2 * tokens * tokens * width)
    return (inputs * embedding + fusion + transformer) / 1e9


def closed_form_late(layers: int, inputs: int) -> float:
    """GFLOPs of a network for each modality: as above, without the fusion."""
    width = 1024
    network = 0
    for tokens, values in ((64, 2 * 25 * 3), (2 * 25, 64 * 3)):
        network += 2 * tokens * (values + width) * width
        network += layers * (2 * tokens * 6 * width * width + 2 * 2 * tokens * tokens * width)
    return inputs * network / 1e9


@pytest.mark.parametrize(
    ("layers", "parameters", "gflops", "late"),
    [(1, 22.07, 2.54, 5.22), (2, 34.67, 4.00, 9.60)],
)
def test_the_reference_configuration(layers, parameters, gflops, late):
    measured = cost(reference(layers))
    assert measured["parameters"] / 1e6 == pytest.approx(parameters, abs=0.005)
    assert measured["gflops"] == pytest.approx(gflops, abs=0.005)
    assert measured["gflops"] == pytest.approx(closed_form(layers, 3))
    of_late = cost(reference(layers, fusion="late"))["gflops"]
    assert of_late == pytest.approx(late, abs=0.005)
    assert of_late == pytest.approx(closed_form_late(layers, 3))


def test_late_fusion_costs_three_networks():
    """Three times what one modality costs, in parameters and in operations: 45.18 M and 5.22
    GFLOPs.
    """
    late, single = cost(reference(1, fusion="late")), cost(reference(1, modalities=["bone"]))
    assert late == {name: pytest.approx(3 * value) for name, value in single.items()}
    width, streams = 1024, ((64, 150), (50, 192))
    embedding = sum(
        values * width + width + 2 * width + width * width + width for _, values in streams
    )
    transformer = 2 * (6 * width * width + 6 * width + 4 * width)
    assert single["parameters"] == embedding + transformer
    assert cost(reference(1))["parameters"] == 3 * embedding + transformer + 2 * width * width


UMURL = VARCOV | {
    "decomposition.weight": 3.0,
    "composition.weight": 0.0,
    "view.weight": 0.0,
    "consistency.weight": 3.0,
    "regularisation.weight": 6.0,
}


def objective(backbone: Backbone, **changes) -> Objective | LateObjective:
    """UmURL's terms, or others."""
    with next(backbone.parameters()).device:
        return build_objective(backbone, terms(**(UMURL | changes)))


def framework(backbone: Backbone, heads, average: bool = False) -> Framework:
    views = Views(LAYOUT, 64, (0.1, 1.0), 64, 15, 1.0, 0.5, 0.0, 0.0, 0.0)
    return Framework(backbone, heads, views, centre="frame", align="first_frame", average=average)


def test_a_step_of_the_reference_objective():
    """Every product once forwards and twice backwards, but once for the first layers, whose inputs
    need no gradient.
    """
    backbone, batch, width = reference(1), 512, 1024
    encoding = 0
    for tokens, values in ((64, 150), (50, 192)):
        passes = 3 + 1
        embedded = 3 + 3  # each modality alone, and all three for the fused input
        first, second = 2 * tokens * values * width, 2 * tokens * width * width
        transformer = 2 * tokens * 6 * width * width + 2 * 2 * tokens * tokens * width
        encoding += embedded * (2 * first + 3 * second) + 3 * second + 3 * passes * transformer
    feature = 2 * width
    projection = 6 * 3 * 2 * (feature * feature + feature * feature + feature * 2 * feature)
    # Clips are fewer than dimensions: Z Z^T forwards, and backwards its two factors' gradients.
    covariance = 6 * 3 * 2 * batch * 2 * feature
    found = training_cost(framework(backbone, objective(backbone)), batch)
    assert found["training_gflops"] == pytest.approx(
        (encoding + projection + covariance) / 1e9, rel=1e-9
    )
    assert found["training_gflops_step"] == pytest.approx(batch * found["training_gflops"])
    heads = 3 * (
        2 * (feature * feature + feature + 2 * feature) + feature * 2 * feature + 2 * feature
    )
    assert found["training_parameters"] == 22_067_200 + heads


def test_the_cost_of_a_step_is_what_a_step_does():
    """Counted on shapes, and in a real step on the CPU; the framework stays as it was."""
    torch.manual_seed(0)
    sizes = {"frames": 4, "width": 8, "layers": 1, "heads": 2, "feedforward": 8}
    others = {
        "norm": "pre",
        "positions_spatial": "learned",
        "pooling": "mean",
        "fusion": "attention",
        "feature_norm": "batch",
    }
    backbone = Backbone(LAYOUT, 1, BackboneSettings(**(SETTINGS | sizes | others)))
    changes = {
        "decomposition.weight": 1.0,
        "decomposition.module": "convolution",
        "decomposition.projectors": "shared",
        "composition.weight": 1.0,
        "composition.module": "attention",
        "composition.guidance": "prototypes",
    }
    net = framework(backbone, objective(backbone, **changes))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found = training_cost(net, 3)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    views = {name: torch.randn(3, 4, 1, 25, 3) for name in net.objective.passes}
    assert (
        found["training_gflops_step"] == flops(lambda: net.losses(views)["loss"].backward()) / 1e9
    )


def test_an_average_of_the_weights_is_not_trained_and_costs_no_product():
    backbone = reference(1)
    heads = objective(backbone)
    plain = training_cost(framework(backbone, heads), 2)
    assert training_cost(framework(backbone, heads, average=True), 2) == plain


def test_attention_on_the_cpu_is_counted():
    x = torch.zeros(1, 2, 5, 8)
    assert flops(lambda: nn.functional.scaled_dot_product_attention(x, x, x)) == 2 * 2 * (
        2 * 5 * 5 * 8
    )


def test_cost_leaves_the_mode_alone():
    backbone = reference(1)
    cost(backbone)
    assert backbone.training
