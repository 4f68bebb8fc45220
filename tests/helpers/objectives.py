"""Settings of objectives for tests: plain values, and changes of them by their keys."""

import copy
from typing import Any

from models.objective_settings import ObjectiveSettings

DC: dict[str, Any] = {
    "part_weights": {"temporal": 1.0, "spatial": 1.0, "whole": 1.0},
    "decomposition": {
        "weight": 1.0,
        "module": "identity",
        "parts": ["whole"],
        "projectors": "modality",
    },
    "composition": {
        "weight": 1.0,
        "module": "mean",
        "parts": ["whole"],
        "guidance": "feature",
        "prototypes": {"count": 5, "temperature": 0.2, "epsilon": 0.05, "iterations": 3},
        "relations": {"of": "projection"},
    },
    "view": {"weight": 1.0, "parts": ["whole"]},
    "consistency": {"weight": 0.0},
    "regularisation": {"weight": 0.0},
    "alignment": {
        "loss": "infonce",
        "temperature": 0.3,
        "invariance": 5.0,
        "variance": 5.0,
        "covariance": 1.0,
        "stop_gradient": False,
        "mask_performances": False,
    },
    "targets": {
        "kind": "one_hot",
        "own_share": 0.5,
        "temperature": 0.2,
        "perplexity": None,
        "encoder": "current",
    },
    "projector": {"hidden": 1.0, "output": 2.0, "layers": 3},
}
# Variance and covariance instead of a contrastive loss.
VARCOV = {"alignment.loss": "variance_covariance", "regularisation.weight": 0.5}


def changed(**changes: Any) -> dict[str, Any]:
    """DC with changes given as {"term.key": value}."""
    settings = copy.deepcopy(DC)
    for name, value in changes.items():
        *path, key = name.split(".")
        section = settings
        for step in path:
            section = section[step]
        assert key in section, name
        section[key] = value
    return settings


def terms(**changes: Any) -> ObjectiveSettings:
    """The settings of an objective, see `changed`."""
    return ObjectiveSettings(**changed(**changes))
