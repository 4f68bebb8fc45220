"""The space of a search: from a point, a value for each key, to overrides of the command line."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

from pipeline.config.command_line import as_value
from pipeline.config.sweep import Range

# The values of a point: key -> value.
Params = dict[str, Any]
# Numbers are drawn with so many significant digits: they are shown, and typed again.
DIGITS = 4


def overrides_of(params: Params) -> list[str]:
    """Return what a user would type for a point.

    Example: `{"views": "strong", "train.optimiser.lr": 0.001}` becomes
    `["views=strong", "train.optimiser.lr=0.001"]`.
    """
    return [f"{key}={as_value(value)}" for key, value in params.items()]


def rounded(value: float, values: Range) -> float:
    """Return a number with few digits, within its range."""
    low, high = values.ends
    return min(max(float(f"{value:.{DIGITS}g}"), low), high)


def same(one: Params, other: Params) -> bool:
    """True if two points have the same values. In Python alone, 1 would equal True."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def contains(space: dict[str, Range], params: Params) -> bool:
    """True if a point lies in a space."""
    if params.keys() != space.keys():
        return False
    return all(_in_range(params[key], values) for key, values in space.items())


def _in_range(value: Any, values: Range) -> bool:
    if values.choice is not None:
        return json.dumps(value) in [json.dumps(choice) for choice in values.choice]
    wanted = int if values.integer is not None else (int, float)
    if isinstance(value, bool) or not isinstance(value, wanted):
        return False
    low, high = values.ends
    return low <= value <= high


def grid(space: dict[str, Range]) -> Iterator[Params]:
    """Yield all points of a space whose values can be counted. The last key changes fastest."""
    columns = [values.values or [] for values in space.values()]
    for values in itertools.product(*columns):
        yield dict(zip(space, values, strict=True))


def corners(space: dict[str, Range]) -> Iterator[tuple[str | None, Params]]:
    """Yield points at the ends of a space: the first values of all keys, then the others of each.

    Yields:
        The key that has not its first value, None at the first corner; and the point.
    """
    first = {key: values.corners[0] for key, values in space.items()}
    yield None, first
    for key, values in space.items():
        for value in values.corners[1:]:
            yield key, first | {key: value}
