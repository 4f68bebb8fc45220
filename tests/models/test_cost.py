import pytest
import torch
from torch import nn

from models.backbone import Backbone
from models.cost import cost, flops
from models.modalities import MODALITIES
from models.skeleton import SkeletonLayout

JOINTS = tuple(str(i) for i in range(25))
LAYOUT = SkeletonLayout("25 joints", JOINTS, (0, *range(24)), centre=0, left_shoulder=1, right_shoulder=2, mirror=())


def reference(layers: int) -> Backbone:
    """UmURL's network, without memory for its weights."""
    with torch.device("meta"):
        return Backbone(
            LAYOUT,
            persons=2,
            frames=64,
            width=1024,
            layers=layers,
            heads=1,
            feedforward=1024,
            dropout=0.0,
            norm="post",
            positions_temporal="none",
            positions_spatial="none",
            pooling="max",
            modalities=MODALITIES,
            fusion="mean",
        )


def closed_form(layers: int, inputs: int) -> tuple[float, float]:
    """GFLOPs of `inputs` modalities fused, and each alone: two for every weight a token meets, and attention's
    products.
    """
    width = 1024
    embedding = transformer = fusion = 0
    for tokens, values in ((64, 2 * 25 * 3), (2 * 25, 64 * 3)):
        embedding += 2 * tokens * (values + width) * width
        fusion += 2 * tokens * width * width
        transformer += layers * (2 * tokens * 6 * width * width + 2 * 2 * tokens * tokens * width)
    return (inputs * embedding + fusion + transformer) / 1e9, inputs * (embedding + transformer) / 1e9


@pytest.mark.parametrize(
    ("layers", "parameters", "gflops", "late"),
    [(1, 22.07, 2.54, 5.22), (2, 34.67, 4.00, 9.60)],
)
def test_the_reference_configuration(layers, parameters, gflops, late):
    measured = cost(reference(layers))
    assert measured["parameters"] / 1e6 == pytest.approx(parameters, abs=0.005)
    assert measured["gflops"] == pytest.approx(gflops, abs=0.005)
    assert measured["gflops_late"] == pytest.approx(late, abs=0.005)
    assert (measured["gflops"], measured["gflops_late"]) == pytest.approx(closed_form(layers, 3))


def test_attention_on_the_cpu_is_counted():
    x = torch.zeros(1, 2, 5, 8)
    assert flops(lambda: nn.functional.scaled_dot_product_attention(x, x, x)) == 2 * 2 * (2 * 5 * 5 * 8)


def test_cost_leaves_the_mode_alone():
    backbone = reference(1)
    cost(backbone)
    assert backbone.training
