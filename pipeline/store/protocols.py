"""Evaluation protocols: which clips are trained on and which are tested on.

A protocol is a set of filters on columns of the index, not a copy of the data. In the configuration
it is a mapping of sides::

    xview: {train: {camera: [2, 3]}, test: rest}

A side is one of these:

- a filter, which maps columns to lists of values: the clips whose value is in the list, for every
  column; `{}` is every clip;
- a list of filters: the clips that pass any of them;
- `rest`: the clips that are on no other side of the protocol.

An unknown value (null) is in no list. The column `split` holds names, the other columns hold
integers. If a data set publishes its protocols as lists of recordings, each list has a name in the
column `split`: `{split: [cross_subject.train]}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.core.errors import ConfigError, UserError

if TYPE_CHECKING:
    from pipeline.config.data import Protocol

SPLIT = "split"
COLUMNS = ("label", "subject", "camera", "setup", "replication", SPLIT)
REST = "rest"

# Pairs of a column and its allowed values. A clip passes if each of the columns has an allowed
# value. A tuple, because sides are compared and hashed.
Filter = tuple[tuple[str, tuple[int, ...] | tuple[str, ...]], ...]


@dataclass(frozen=True)
class Side:
    """One side of a protocol.

    Attributes:
        protocol: the name of the protocol, for messages.
        name: the name of the side, for messages.
        filters: a clip is on the side if it passes any of these.
        complement: with true, a clip is on the side if it passes none of `filters`.
    """

    protocol: str
    name: str
    filters: tuple[Filter, ...]
    complement: bool = False

    def __str__(self) -> str:
        return f"{self.protocol}.{self.name}"


def parse(protocols: Mapping[str, Mapping]) -> dict[str, dict[str, Side]]:
    """Turn configured protocols into sides.

    Args:
        protocols: name of a protocol -> its sides, as configured.

    Returns:
        Name of a protocol -> name of a side -> the side.

    Raises:
        ConfigError: a column is not a filter column, a value is of the wrong kind, or a protocol
            has more than one `rest` or no side.
    """
    return {name: _parse_protocol(name, sides) for name, sides in protocols.items()}


def sides_of(protocols: Mapping[str, Protocol], name: str) -> dict[str, Side]:
    """Return the sides of one configured protocol, by their names.

    Args:
        protocols: `data.protocols` of the configuration.
        name: the name of the protocol, `data.protocol`.

    Raises:
        ConfigError: the protocol is malformed, as `parse` says.
    """
    return _parse_protocol(name, protocols[name].model_dump())


def _parse_protocol(protocol: str, sides: Mapping) -> dict[str, Side]:
    if not isinstance(sides, Mapping) or not sides:
        raise ConfigError(
            f"protocols.{protocol}: expected sides such as {{train: {{camera: [1]}}, test: rest}}"
        )
    rests = [name for name, side in sides.items() if side == REST]
    if len(rests) > 1 or len(rests) == len(sides):
        raise ConfigError(
            f"protocols.{protocol}: one side at most can be 'rest', and not the only one"
        )
    # First the other sides, because `rest` is what passes none of their filters.
    filters_of = {}
    all_filters: list[Filter] = []
    for name, side in sides.items():
        if name not in rests:
            filters_of[name] = _parse_side(f"protocols.{protocol}.{name}", side)
            all_filters.extend(filters_of[name])

    # The sides keep the order of the configuration.
    parsed = {}
    for name in sides:
        if name in rests:
            parsed[name] = Side(protocol, name, tuple(all_filters), complement=True)
        else:
            parsed[name] = Side(protocol, name, filters_of[name])
    return parsed


def _parse_side(key: str, side: Mapping | Sequence[Mapping]) -> tuple[Filter, ...]:
    if isinstance(side, list) and side:
        filters = []
        for number, configured in enumerate(side):
            filters.append(parse_filter(f"{key}[{number}]", configured))
        return tuple(filters)
    return (parse_filter(key, side),)


def parse_filter(key: str, configured: Any) -> Filter:
    """Check a configured filter, and return it with sorted values.

    Args:
        key: the key of the filter in the configuration, for messages.
        configured: a mapping of columns to lists of values.

    Raises:
        ConfigError: it is not a mapping, a column is not a filter column, or a value is of the
            wrong kind.
    """
    if not isinstance(configured, Mapping):
        raise ConfigError(
            f"{key}: expected 'rest' or columns with lists of values, got {configured!r}"
        )
    parsed = []
    for column, values in configured.items():
        if column not in COLUMNS:
            raise ConfigError(f"{key}.{column}: not a filter column; allowed: {', '.join(COLUMNS)}")
        _require_values(f"{key}.{column}", column, values)
        parsed.append((column, tuple(sorted(set(values)))))
    return tuple(parsed)


def _require_values(key: str, column: str, values: Any) -> None:
    """Check that a column has a list of names (`split`) or of integers (any other)."""
    kind: type = int
    kinds = "integers"
    if column == SPLIT:
        kind = str
        kinds = "names"
    if isinstance(values, str) or not isinstance(values, Sequence) or not len(values):
        raise ConfigError(f"{key}: expected a list of {kinds}, got {values!r}")
    for value in values:
        # In Python a bool is an integer, too.
        if isinstance(value, bool) or not isinstance(value, kind):
            raise ConfigError(f"{key}: expected a list of {kinds}, got {list(values)!r}")


def mask(columns: Mapping[str, np.ndarray], side: Side) -> np.ndarray:
    """Find the clips on one side of a protocol.

    Args:
        columns: the filter columns: int64 [N], -1 where unknown; `split` is an object array of
            tuples of names.
        side: the side.

    Returns:
        bool [N], True if the clip of the row is on the side.
    """
    rows = len(next(iter(columns.values())))
    passes_any = np.zeros(rows, bool)
    for one_filter in side.filters:
        passes = np.ones(rows, bool)
        for name, values in one_filter:
            passes &= _is_in(columns[name], values)
        passes_any |= passes
    if side.complement:
        return ~passes_any
    return passes_any


def _is_in(column: np.ndarray, values: Sequence) -> np.ndarray:
    """Find the rows whose value, or any of whose names, is among `values`."""
    if column.dtype != object:
        return np.isin(column, values)
    wanted = frozenset(values)
    is_in = np.zeros(len(column), bool)
    for row, names in enumerate(column):
        is_in[row] = not wanted.isdisjoint(names)
    return is_in


def counts(
    columns: Mapping[str, np.ndarray], protocols: Mapping[str, Mapping]
) -> dict[str, dict[str, int]]:
    """Count the clips on every side of every protocol.

    Args:
        columns: the filter columns, see `mask`.
        protocols: as configured.

    Returns:
        Name of a protocol -> name of a side -> number of clips.

    Raises:
        ConfigError: a protocol is malformed, as `parse` says.
    """
    counted: dict[str, dict[str, int]] = {}
    for protocol, sides in parse(protocols).items():
        counted[protocol] = {}
        for name, side in sides.items():
            counted[protocol][name] = int(mask(columns, side).sum())
    return counted


def require_disjoint(columns: Mapping[str, np.ndarray], protocols: Mapping[str, Mapping]) -> None:
    """Check that no clip is on two sides of a protocol: it would be trained on and tested on.

    Args:
        columns: the filter columns, see `mask`.
        protocols: as configured.

    Raises:
        UserError: two sides share clips.
    """
    for protocol, sides in parse(protocols).items():
        masks = np.stack([mask(columns, side) for side in sides.values()])
        shared = int((masks.sum(axis=0) > 1).sum())
        if shared:
            raise UserError(
                f"protocols.{protocol}: {shared} clips are on more than one of its sides"
            )
