"""How far a mean over people is known: intervals by the bootstrap, stratified by data set."""

import zlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

DRAWS = 10_000
# The ends of the interval, in percent: 95 of 100 draws lie within.
ENDS = (2.5, 97.5)

Values = npt.NDArray[np.float64]


class Interval(NamedTuple):
    """The ends of an interval."""

    low: float
    high: float


class Intervals(NamedTuple):
    """The intervals of several data sets.

    Attributes:
        pooled: of the mean over all people. None if a data set has only one person, because one
            person does not tell how much people differ.
        by_data: data set -> of the mean over its people, None if it has only one.
    """

    pooled: Interval | None
    by_data: dict[str, Interval | None]


def intervals(values: Mapping[str, Values]) -> Intervals:
    """Return the intervals of means over people.

    People are drawn with replacement, as many as there are, within each data set: every draw has
    the same number of people of each.

        data set a, 3 people   1 2 6  ->  draws 1 1 6, 2 6 6, ...
        data set b, 2 people   4 8    ->  draws 4 4,   8 4,   ...
        pooled                 4.2    ->  (1 + 1 + 6 + 4 + 4) / 5, (2 + 6 + 6 + 8 + 4) / 5, ...

    Args:
        values: data set -> a value for each of its people. The draws of a data set depend on its
            name and on the number of its people alone, so it has one interval in all tables.
    """
    drawn: list[Values] = []
    by_data: dict[str, Interval | None] = {}
    people = 0
    for name, of_people in values.items():
        sums = _drawn_sums(name, of_people)
        by_data[name] = _interval(sums / len(of_people))
        if len(of_people) == 1:
            by_data[name] = None
        drawn.append(sums)
        people += len(of_people)
    if None in by_data.values():
        return Intervals(None, by_data)
    return Intervals(_interval(np.sum(drawn, axis=0) / people), by_data)


def _drawn_sums(name: str, of_people: Values) -> Values:
    """Return the sums over DRAWS draws of the people of one data set."""
    random = np.random.default_rng(zlib.crc32(name.encode(errors="replace")))
    count = len(of_people)
    return of_people[random.integers(count, size=(DRAWS, count))].sum(axis=1)


def _interval(means: Values) -> Interval:
    low, high = np.percentile(means, ENDS)
    return Interval(float(low), float(high))
