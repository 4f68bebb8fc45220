"""What the accuracies of a run cost, counted once for all runs of a process that cost the same.

Counting takes a second. The trials of a sweep often differ in nothing that it depends on.
"""

import json
from typing import Any

from models.cost import cost, training_cost
from models.framework import Framework
from pipeline.config.root import Config
from pipeline.runs import metric_names

# `cost_key` -> the cost.
_COUNTED: dict[str, dict[str, float]] = {}


def cost_of(config: Config, blueprint: Framework) -> dict[str, float]:
    """Return `parameters`, `gflops`, `pretraining_parameters` and `pretraining_gflops`.

    Args:
        config: the configuration.
        blueprint: the training module that was built from it, on any device.
    """
    key = cost_key(config)
    if key not in _COUNTED:
        inference = cost(blueprint.backbone)
        step = training_cost(blueprint, _batch(config))
        _COUNTED[key] = {
            metric_names.PARAMETERS: inference["parameters"],
            metric_names.GFLOPS: inference["gflops"],
            metric_names.PRETRAINING_PARAMETERS: step["training_parameters"],
            metric_names.PRETRAINING_GFLOPS: step["training_gflops"],
        }
    return dict(_COUNTED[key])


def cost_key(config: Config) -> str:
    """Return a text that is the same for runs of the same cost.

    Of the weight of a term it only matters whether it is 0: such a term is not computed. A
    temperature never matters.
    """
    sections: list[Any] = [
        config.model.model_dump(mode="json"),
        config.data.seen_skeleton.model_dump(mode="json"),
        config.data.persons,
        _batch(config),
        _without_amounts(config.objective.model_dump(mode="json")),
    ]
    return json.dumps(sections, sort_keys=True)


def _batch(config: Config) -> int:
    """Return the clips of a step.

    The terms that compare all pairs of clips of a batch make a clip's cost depend on it.
    """
    return config.train.batch_size // config.train.accumulate


def _without_amounts(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of an objective without those numbers that change no cost."""
    kept: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            kept[name] = _without_amounts(value)
        elif name == "weight":
            kept[name] = value > 0
        elif name not in ("name", "temperature"):
            kept[name] = value
    return kept
