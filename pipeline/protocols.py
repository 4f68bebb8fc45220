"""Evaluation protocols as column filters: who is trained on and who is tested on, never a copy of the data.

In configuration a protocol is a mapping of sides:

    xview: {train: {camera: [2, 3]}, test: rest}

A side is the AND over its columns of "value is in the list"; `{}` is every clip; `rest` is what no other side of the
protocol holds. A clip whose value is unknown (null) is in no list.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import ConfigError, UserError

if TYPE_CHECKING:
    from ray.data.expressions import Expr

COLUMNS = ("label", "subject", "camera", "setup", "replication")
REST = "rest"

Terms = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Side:
    """One side of a protocol, by name for messages: rows that match any (or, with `complement`, none) of `anyof`."""

    protocol: str
    name: str
    anyof: tuple[Terms, ...]
    complement: bool = False

    def __str__(self) -> str:
        return f"{self.protocol}.{self.name}"


def parse(protocols: Mapping[str, Mapping]) -> dict[str, dict[str, Side]]:
    """Turn configured protocols into sides.

    Raises:
        ConfigError: a column that is no filter column, a value that is no integer, more than one `rest`, no side.
    """
    return {name: _parse_protocol(name, sides) for name, sides in protocols.items()}


def _parse_protocol(protocol: str, sides: Mapping) -> dict[str, Side]:
    if not isinstance(sides, Mapping) or not sides:
        raise ConfigError(f"protocols.{protocol}: expected sides such as {{train: {{camera: [1]}}, test: rest}}")
    rests = [name for name, side in sides.items() if side == REST]
    if len(rests) > 1 or len(rests) == len(sides):
        raise ConfigError(f"protocols.{protocol}: one side at most can be 'rest', and not the only one")
    listed = {name: _parse_terms(f"protocols.{protocol}.{name}", side) for name, side in sides.items() if side != REST}
    every = tuple(listed.values())
    return {
        name: Side(protocol, name, every, complement=True) if name in rests else Side(protocol, name, (listed[name],))
        for name in sides
    }


def _parse_terms(key: str, side: Mapping) -> Terms:
    if not isinstance(side, Mapping):
        raise ConfigError(f"{key}: expected 'rest' or columns with lists of values, got {side!r}")
    for column, values in side.items():
        if column not in COLUMNS:
            raise ConfigError(f"{key}.{column}: not a filter column; allowed: {', '.join(COLUMNS)}")
        if isinstance(values, str) or not hasattr(values, "__iter__") or not len(values):
            raise ConfigError(f"{key}.{column}: expected a list of integers, got {values!r}")
        if any(isinstance(value, bool) or not isinstance(value, int) for value in values):
            raise ConfigError(f"{key}.{column}: expected a list of integers, got {list(values)!r}")
    return tuple((column, tuple(sorted(set(values)))) for column, values in side.items())


def mask(columns: Mapping[str, np.ndarray], side: Side) -> np.ndarray:
    """Return bool [N]: which rows belong to a side. `columns` holds the filter columns, int64 [N], -1 where unknown."""
    rows = len(next(iter(columns.values())))
    matches = [
        reduce(np.logical_and, (np.isin(columns[name], values) for name, values in terms), np.ones(rows, bool))
        for terms in side.anyof
    ]
    matched = np.logical_or.reduce(matches)
    return ~matched if side.complement else matched


def expression(side: Side) -> "Expr":
    """Return the same filter for `ray.data.Dataset.filter(expr=...)`; `.to_pyarrow()` gives Arrow's."""
    from ray.data.expressions import col, lit

    def match(terms: Terms):
        # A null counts as "not in the list", so that a complement holds it, as `mask` does.
        parts = [col(name).is_in(list(values)) & col(name).is_not_null() for name, values in terms]
        return reduce(lambda a, b: a & b, parts) if parts else lit(True)

    matched = reduce(lambda a, b: a | b, (match(terms) for terms in side.anyof))
    return ~matched if side.complement else matched


def counts(columns: Mapping[str, np.ndarray], protocols: Mapping[str, Mapping]) -> dict[str, dict[str, int]]:
    """Return the number of clips on every side of every protocol. Raises ConfigError for a malformed one."""
    return {
        protocol: {name: int(mask(columns, side).sum()) for name, side in sides.items()}
        for protocol, sides in parse(protocols).items()
    }


def require_disjoint(columns: Mapping[str, np.ndarray], protocols: Mapping[str, Mapping]) -> None:
    """Raise UserError where two sides of a protocol share clips: what is tested on would be trained on."""
    for protocol, sides in parse(protocols).items():
        shared = int((sum(mask(columns, side).astype(np.int64) for side in sides.values()) > 1).sum())
        if shared:
            raise UserError(f"protocols.{protocol}: {shared} clips are on more than one of its sides")
