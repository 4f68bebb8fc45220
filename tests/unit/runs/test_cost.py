"""The cost of a run is counted once for all settings that it does not depend on."""

import pytest

from models import cost as counting
from pipeline.config.compose import load
from pipeline.encoder.build import build_framework
from pipeline.runs import cost
from pipeline.runs.cost import cost_of

SMALL = (
    "model.frames=8",
    "model.width=16",
    "model.heads=2",
    "model.feedforward=16",
    "model.layers=1",
)


def cost_with(*overrides):
    config = load([*SMALL, *overrides])
    return cost_of(config, build_framework(config))


@pytest.fixture
def counts(monkeypatch):
    """How often something is counted, from a process that knows nothing yet."""
    counted = []

    def training_cost(framework, batch):
        counted.append(batch)
        return counting.training_cost(framework, batch)

    monkeypatch.setattr(cost, "_COUNTED", {})
    monkeypatch.setattr(cost, "training_cost", training_cost)
    return counted


def test_what_does_not_change_the_cost_is_not_counted_again(counts):
    other = (
        "objective.view.weight=0.3",
        "objective.decomposition.weight=7",
        "objective.alignment.temperature=0.7",
        "views.min_frames=4",
        "train.optimiser.lr=0.1",
        "seed=3",
    )
    first = cost_with()
    assert cost_with(*other) == first and len(counts) == 1
    # It is what would have been counted.
    cost._COUNTED.clear()
    assert cost_with(*other) == first and len(counts) == 2


def test_what_changes_the_cost_is_counted(counts):
    changes = ("objective.view.weight=0", "train.batch_size=16", "model.layers=2", "data.persons=1")
    found = [cost_with(change) for change in ("seed=0", *changes)]
    assert len(counts) == len(found)
    assert len({tuple(values.items()) for values in found}) == len(found)
