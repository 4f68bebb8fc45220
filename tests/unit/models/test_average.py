"""The moving average of an encoder's weights."""

import math

import pytest
import torch
from torch import nn

from models.average import average_of, update_average
from models.framework import Framework
from pipeline.config.compose import load
from pipeline.encoder.build import build_framework
from tests.helpers.training import Batches

SMALL = [
    "data.persons=1",
    "model={frames: 8, width: 16, heads: 2, feedforward: 16, feature_norm: batch}",
    "views.min_frames=4",
]


def framework(average="{decay: 0.9}"):
    return build_framework(load([*SMALL, f"train.average={average}"]))


class Small(nn.Module):
    """A weight, statistics and a count, as an encoder has them."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2)


def changed(module, seed):
    """Draw all tensors of a module anew."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in module.state_dict().values():
            if value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=generator))
            else:
                value.fill_(seed)


@pytest.mark.parametrize("decays", [[0.9] * 6, [0.99, 0.995, 1.0, 0.0, 0.9]])
def test_it_is_what_a_loop_over_numbers_in_float64_computes(decays):
    module = Small()
    changed(module, 100)
    average = average_of(module)
    expected = {name: value.double() for name, value in module.state_dict().items()}
    for seed, decay in enumerate(decays):
        changed(module, seed)
        update_average(average, module, decay)
        for name, value in module.state_dict().items():
            if name == "norm.num_batches_tracked":
                expected[name] = value.double()
                continue
            old, new = expected[name].flatten(), value.double().flatten()
            mixed = [
                decay * float(a) + (1 - decay) * float(b) for a, b in zip(old, new, strict=True)
            ]
            expected[name] = torch.tensor(mixed, dtype=torch.float64).view(value.shape)
    for name, value in average.state_dict().items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)


def test_a_constant_decay_is_a_sum_of_powers():
    module = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        module.weight.fill_(1.0)
    average = average_of(module)
    for _ in range(50):
        with torch.no_grad():
            module.weight.fill_(3.0)
        update_average(average, module, 0.95)
    assert average.weight.item() == pytest.approx(3 - 2 * math.pow(0.95, 50), rel=1e-5)
    assert module.weight.item() == 3.0


def test_an_average_begins_as_the_encoder_and_draws_no_random_number():
    with_average, without = framework(), framework("{decay: null}")
    ours, theirs = with_average.state_dict(), without.state_dict()
    assert without.average is None
    # Another version, or a run without an average, has the same weights under the same names.
    assert {key for key in ours if not key.startswith("average.")} == theirs.keys()
    assert all(ours[key].equal(theirs[key]) for key in theirs)
    backbone = with_average.backbone.state_dict()
    average = with_average.average.state_dict()
    assert average.keys() == backbone.keys()
    assert all(average[key].equal(backbone[key]) for key in backbone)
    changed(with_average.backbone, 1)
    assert all(average[key].equal(theirs[f"backbone.{key}"]) for key in backbone)


def test_the_exported_encoder_is_the_average_only_where_it_is_asked_for():
    net = framework()
    assert net.exported is net.average is not net.backbone
    plain = framework("{decay: null}")
    assert plain.exported is plain.backbone
    with pytest.raises(ValueError, match="keeps no average"):
        plain.update_average(0.9)

    def built(**average):
        parts = (plain.backbone, plain.objective, plain.views)
        return Framework(*parts, centre="frame", align="none", **average)

    beside = built(average=True)
    assert beside.exported is beside.backbone is not beside.average
    with pytest.raises(ValueError, match="export_average needs average"):
        built(export_average=True)


def test_it_gets_no_gradient_and_changes_no_loss():
    net, plain = framework(), framework("{decay: null}")
    clips = Batches(1, joints=net.backbone.layout.num_joints).batch(0, 0)
    losses, expected = net(clips, 0, 0), plain(clips, 0, 0)
    assert losses.keys() == expected.keys()
    assert all(losses[name].equal(expected[name]) for name in losses)
    losses["loss"].backward()
    assert all(not weight.requires_grad for weight in net.average.parameters())
    assert all(weight.grad is None for weight in net.average.parameters())
    # The passes of the backbone leave the statistics of the average as they were.
    tracked = {key for key in net.average.state_dict() if key.endswith("num_batches_tracked")}
    assert tracked and all(int(net.average.state_dict()[key]) == 0 for key in tracked)
    net.update_average(0.9)
    average, backbone = net.average.state_dict(), net.backbone.state_dict()
    assert all(average[key].equal(backbone[key]) for key in tracked)
    assert int(average[min(tracked)]) > 0
