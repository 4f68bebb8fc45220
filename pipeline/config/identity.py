"""What makes two runs the same: the settings that decide what is computed."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pipeline.config.added_later import ADDED_LATER, without_added
from pipeline.config.root import Config

# These keys may differ between a run and its continuation. They are about paths, resources and
# logging, and do not change the results.
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
    "sweep",
    "compare",
    "train.max_failures",
    "train.log_every",
    "train.checkpoint",
    "train.watch",
)

# A message names so many settings, and counts the others.
NAMED_DIFFERENCES = 5


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested mapping as a flat one, its keys joined by dots. Lists stay values.

    Example: `{"a": {"b": 1}}` becomes `{"a.b": 1}`.

    Args:
        values: the nested mapping.
        prefix: what every key begins with.
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def is_computed(key: str) -> bool:
    """True if a flat key decides what a run computes."""
    for section in NOT_COMPUTED:
        if key == section or key.startswith(f"{section}."):
            return False
    return True


def identity(config: Config) -> dict[str, Any]:
    """Return the flat settings that decide what a run computes.

    Settings with which a run computes what older versions did, before they had them, are left out.
    """
    flat = flatten(config.model_dump(mode="json"))
    # The path of a pooled store is left out: `RunDirectory.claim` compares its content instead.
    pool = []
    for pooled in config.data.pool:
        pool.append({"clips": pooled.clips, "weight": pooled.weight})
    flat["data.pool"] = pool
    return {key: value for key, value in without_added(flat).items() if is_computed(key)}


def digest(config: Config) -> str:
    """Return a short hash of `identity`. It is equal for runs that compute the same."""
    text = json.dumps(identity(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(first: Config, second: Config) -> dict[str, tuple[Any, Any]]:
    """Return the settings by which two runs compute different things.

    Returns:
        Key -> the values of both, sorted by key. A missing key counts as what older versions, which
        did not have it, computed, or as None.
    """
    return different_values(identity(first), identity(second))


def different_values(
    first: Mapping[str, Any], second: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """Return the keys of two flat mappings whose values differ, see `differences`."""
    found = {}
    for key in sorted(first.keys() | second.keys()):
        missing = ADDED_LATER.get(key)
        values = (first.get(key, missing), second.get(key, missing))
        if values[0] != values[1]:
            found[key] = values
    return found


def named(differing: dict[str, tuple[Any, Any]]) -> str:
    """Return for a message which settings differ.

    Args:
        differing: key -> the value there, and the value now.
    """
    parts = []
    for key, (there, now) in list(differing.items())[:NAMED_DIFFERENCES]:
        parts.append(f"{key} ({there} there, {now} now)")
    text = ", ".join(parts)
    if len(differing) > NAMED_DIFFERENCES:
        text += f" and {len(differing) - NAMED_DIFFERENCES} more"
    return text
