"""What makes two runs the same: the settings that decide what is computed."""

import hashlib
import json
from typing import Any

from pipeline.config.root import Config

# What may differ between a run and its continuation: places, resources and logging, never what is
# computed.
NOT_COMPUTED = (
    "stages",
    "output",
    "fresh",
    "data.raw",
    "data.store",
    "data.names",
    "ingest",
    "tracking",
    "cluster",
    "ablate",
    "train.max_failures",
    "train.log_every",
    "train.checkpoint",
    "train.watch",
)


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, its keys joined by dots. Lists stay values.

    Example: `{"a": {"b": 1}}` becomes `{"a.b": 1}`.
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def is_computed(key: str) -> bool:
    """Whether a flat key decides what a run computes."""
    for place in NOT_COMPUTED:
        if key == place or key.startswith(f"{place}."):
            return False
    return True


def identity(config: Config) -> dict[str, Any]:
    """Return the flat settings that decide what a run computes."""
    flat = flatten(config.model_dump(mode="json"))
    # Where a pooled store lies does not matter: the run is tied to what it holds.
    flat["data.pool"] = [
        {"clips": pooled.clips, "weight": pooled.weight} for pooled in config.data.pool
    ]
    return {key: value for key, value in flat.items() if is_computed(key)}


def digest(config: Config) -> str:
    """Return a short hash of `identity`: equal for runs that compute the same."""
    text = json.dumps(identity(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
