"""Evaluation protocols as column filters: who is trained on and who is tested on, never a copy of the data.

In configuration a protocol is a mapping of sides:

    xview: {train: {camera: [2, 3]}, test: rest}

A side is the AND over its columns of "value is in the list"; `{}` is every clip; a list of such is any of them; `rest`
is what no other side of the protocol holds. A clip whose value is unknown (null) is in no list. `split` holds names,
the other columns integers: a data set whose protocols are lists of recordings has them as names of splits,
`{split: [cross_subject.train]}`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from pipeline.core.errors import ConfigError, UserError

if TYPE_CHECKING:
    from pipeline.config.schema import Protocol

SPLIT = "split"
COLUMNS = ("label", "subject", "camera", "setup", "replication", SPLIT)
REST = "rest"

Terms = tuple[tuple[str, tuple[int, ...] | tuple[str, ...]], ...]


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
        ConfigError: a column that is no filter column, a value of the wrong kind, more than one `rest`, no side.
    """
    return {name: _parse_protocol(name, sides) for name, sides in protocols.items()}


def sides_of(protocols: "Mapping[str, Protocol]", name: str) -> dict[str, Side]:
    """Return the sides of one configured protocol, by their names.

    Args:
        protocols: `data.protocols` of the configuration.
        name: the protocol that is wanted, `data.protocol`.

    Raises:
        ConfigError: the protocol is malformed, as `parse` says.
    """
    return parse({name: protocols[name].model_dump()})[name]


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
    listed = {
        name: _parse_side(f"protocols.{protocol}.{name}", side)
        for name, side in sides.items()
        if side != REST
    }
    every = tuple(terms for anyof in listed.values() for terms in anyof)
    return {
        name: Side(protocol, name, every, complement=True)
        if name in rests
        else Side(protocol, name, listed[name])
        for name in sides
    }


def _parse_side(key: str, side: Mapping | Sequence[Mapping]) -> tuple[Terms, ...]:
    if isinstance(side, list) and side:
        return tuple(parse_terms(f"{key}[{number}]", one) for number, one in enumerate(side))
    return (parse_terms(key, side),)


def parse_terms(key: str, side: Mapping) -> Terms:
    """Turn the columns and values of one side into terms; `key` is where they stand, for messages."""
    if not isinstance(side, Mapping):
        raise ConfigError(f"{key}: expected 'rest' or columns with lists of values, got {side!r}")
    for column, values in side.items():
        if column not in COLUMNS:
            raise ConfigError(f"{key}.{column}: not a filter column; allowed: {', '.join(COLUMNS)}")
        kind, kinds = (str, "names") if column == SPLIT else (int, "integers")
        if isinstance(values, str) or not isinstance(values, Sequence) or not len(values):
            raise ConfigError(f"{key}.{column}: expected a list of {kinds}, got {values!r}")
        if any(isinstance(value, bool) or not isinstance(value, kind) for value in values):
            raise ConfigError(f"{key}.{column}: expected a list of {kinds}, got {list(values)!r}")
    return tuple((column, tuple(sorted(set(values)))) for column, values in side.items())


def mask(columns: Mapping[str, np.ndarray], side: Side) -> np.ndarray:
    """Return bool [N]: which rows belong to a side.

    `columns` holds the filter columns: int64 [N], -1 where unknown; of `split` an object array of tuples of names.
    """
    rows = len(next(iter(columns.values())))
    matches = [
        reduce(
            np.logical_and,
            (_is_in(columns[name], values) for name, values in terms),
            np.ones(rows, bool),
        )
        for terms in side.anyof
    ]
    matched = np.logical_or.reduce(matches)
    return ~matched if side.complement else matched


def _is_in(column: np.ndarray, values: Sequence) -> np.ndarray:
    if column.dtype != object:
        return np.isin(column, values)
    wanted = frozenset(values)
    return np.fromiter((not wanted.isdisjoint(names) for names in column), bool, len(column))


def counts(
    columns: Mapping[str, np.ndarray], protocols: Mapping[str, Mapping]
) -> dict[str, dict[str, int]]:
    """Return the number of clips on every side of every protocol. Raises ConfigError for a malformed one."""
    return {
        protocol: {name: int(mask(columns, side).sum()) for name, side in sides.items()}
        for protocol, sides in parse(protocols).items()
    }


def require_disjoint(columns: Mapping[str, np.ndarray], protocols: Mapping[str, Mapping]) -> None:
    """Raise UserError where two sides of a protocol share clips: what is tested on would be trained on."""
    for protocol, sides in parse(protocols).items():
        shared = int(
            (sum(mask(columns, side).astype(np.int64) for side in sides.values()) > 1).sum()
        )
        if shared:
            raise UserError(
                f"protocols.{protocol}: {shared} clips are on more than one of its sides"
            )
