"""Verdicts: is a variant better than another one, judged by the people of the test sides?

Clips of one person are alike, and so are two runs that test the same person. The people are what
is independent. So everything that was measured of a person becomes one number first: the mean over
seeds and splits of the paired difference.

    difference to umurl   person 1   person 2   person 6
    seed 0, split_0          +2                    +4
    seed 1, split_1                     +1
    seed 2, split_0          +4                    +2
    mean                     +3         +1         +3     ->  +2.3, with an interval over people
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from pipeline.config.verdict import Verdict
from pipeline.runs.metric_names import random_start
from pipeline.tables.bootstrap import Interval, Values, intervals

# Differences are rounded to so many decimals: what is left of rounding is no difference.
DECIMALS = 12
# The name of all data sets together.
ALL = "all"

Finding = Literal["better", "worse", "not told apart", "incomplete"]


class Plan(Verdict):
    """What a table is to tell, and by which trials.

    Attributes:
        seeds: of the trials that count. Each has the split whose turn it is.
    """

    seeds: list[int]


class RunOfPeople(Protocol):
    """What was measured of a run, and of each of its test people.

    Attributes:
        variant: of the table.
        seed: of the run.
        figures: name -> value.
        people: number of a person, as text -> name -> value.
        stores: the fingerprints of the clip store and of those that were pooled.
    """

    @property
    def variant(self) -> str: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102
    @property
    def figures(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def people(self) -> Mapping[str, Mapping[str, float]]: ...  # noqa: D102
    @property
    def stores(self) -> Sequence[str]: ...  # noqa: D102


@dataclass(frozen=True)
class PlannedTable:
    """A table that is judged.

    Attributes:
        name: of the table.
        seeds: see `Plan`.
        records: of its trials, none stale. Those of other variants and seeds do not count.
    """

    name: str
    seeds: Sequence[int]
    records: Sequence[RunOfPeople]


@dataclass(frozen=True)
class DataResult:
    """What one data set says.

    Attributes:
        name: of the data set, or of all together.
        people: how many.
        cells: how many pairs of measurements, each of one person in one trial.
        variant: mean of the figure over trials.
        against: the same of the variant that this one is compared with.
        random: the same of the encoder before training, None where it was not measured.
        difference: mean over people.
        interval: of the difference, None if there is only one person.
    """

    name: str
    people: int
    cells: int
    variant: float
    against: float
    random: float | None
    difference: float
    interval: Interval | None


@dataclass(frozen=True)
class Judgement:
    """A variant against another one, by one figure.

    Attributes:
        against: the other variant.
        metric: the figure.
        finding: the verdict.
        pooled: over the people of all data sets; None if nothing was measured.
        by_data: of each data set for which something was measured.
        missing: what was not measured, by name.
    """

    against: str
    metric: str
    finding: Finding
    pooled: DataResult | None
    by_data: list[DataResult]
    missing: list[str]


def judge(verdict: Verdict, tables: Sequence[PlannedTable]) -> list[Judgement]:
    """Return a judgement for each variant that one is compared with, and each figure.

    Args:
        verdict: what is asked.
        tables: at least one. Those of the same clip store have the same people, and are one data
            set.
    """
    judgements = []
    for against in verdict.against:
        for metric in verdict.metrics:
            pairs = [_paired(verdict.variant, against, metric, table) for table in tables]
            judgements.append(_judgement(against, metric, pairs))
    return judgements


class _Pair(NamedTuple):
    """Two runs that differ in nothing but the variant."""

    variant: RunOfPeople
    against: RunOfPeople


@dataclass(frozen=True)
class _Paired:
    """The pairs of one table.

    Attributes:
        name: of the table.
        metric: that is compared.
        pairs: of every seed for which both were measured.
        missing: what was not measured.
    """

    name: str
    metric: str
    pairs: list[_Pair]
    missing: list[str]

    @property
    def store(self) -> str:
        """The fingerprint of the clip store."""
        return self.pairs[0].variant.stores[0]

    def differences(self) -> dict[str, list[float]]:
        """Return the number of a person -> the difference of each pair that tested this person."""
        differences: dict[str, list[float]] = {}
        for one, other in self.pairs:
            for person, figures in one.people.items():
                theirs = other.people.get(person, {})
                if self.metric in figures and self.metric in theirs:
                    difference = figures[self.metric] - theirs[self.metric]
                    differences.setdefault(person, []).append(difference)
        return differences


def _paired(variant: str, against: str, metric: str, table: PlannedTable) -> _Paired:
    """Return the pairs of a table, and name what is missing."""
    records = {(record.variant, record.seed): record for record in table.records}
    pairs = []
    missing = []
    for seed in table.seeds:
        runs = []
        for name in (variant, against):
            record = records.get((name, seed))
            if record is None:
                missing.append(f"{table.name}: {name}-{seed}")
            elif not record.people or metric not in record.figures:
                missing.append(f"{table.name}: {name}-{seed} (no {metric} of people)")
            else:
                runs.append(record)
        if len(runs) == 2:
            pair = _Pair(*runs)
            pairs.append(pair)
            missing += [f"{table.name}: {cell}" for cell in _unpaired(pair, metric)]
    return _Paired(table.name, metric, pairs, missing)


def _unpaired(pair: _Pair, metric: str) -> list[str]:
    """Return the people of whom one run of a pair lacks a figure."""
    missing = []
    for person in sorted(pair.variant.people.keys() | pair.against.people.keys(), key=_order):
        for run in pair:
            if metric not in run.people.get(person, {}):
                missing.append(f"{run.variant}-{run.seed} (no {metric} of person {person})")
    return missing


def _order(person: str) -> tuple[int, str]:
    """Sort numbers that are text: 2 before 10."""
    return len(person), person


def _judgement(against: str, metric: str, tables: Sequence[_Paired]) -> Judgement:
    missing = []
    data: dict[str, list[_Paired]] = {}
    for table in tables:
        missing += table.missing
        if table.differences():
            data.setdefault(table.store, []).append(table)
    if not data:
        return Judgement(against, metric, "incomplete", None, [], missing)
    values = {}
    by_name = {}
    for parts in data.values():
        name = " + ".join(part.name for part in parts)
        by_name[name] = parts
        values[name] = _of_people(parts)
    found = intervals(values)
    by_data = []
    for name, parts in by_name.items():
        by_data.append(_data_result(name, parts, values[name], found.by_data[name]))
    finding: Finding = "incomplete"
    if not missing:
        finding = _finding(found.pooled, list(found.by_data.values()))
    pooled = _pooled(by_data, found.pooled)
    return Judgement(against, metric, finding, pooled, by_data, missing)


def _of_people(tables: Sequence[_Paired]) -> Values:
    """Return the mean difference of each person of a data set, in the order of their numbers."""
    differences: dict[str, list[float]] = {}
    for table in tables:
        for person, values in table.differences().items():
            differences.setdefault(person, []).extend(values)
    people = sorted(differences, key=_order)
    return np.array([np.mean(differences[person]) for person in people]).round(DECIMALS)


def _data_result(
    name: str, tables: Sequence[_Paired], values: Values, interval: Interval | None
) -> DataResult:
    metric = tables[0].metric
    pairs = [pair for table in tables for pair in table.pairs]
    cells = 0
    for table in tables:
        cells += sum(map(len, table.differences().values()))
    starts = []
    for pair in pairs:
        if random_start(metric) in pair.variant.figures:
            starts.append(pair.variant.figures[random_start(metric)])
    random = None
    # A mean over some of the trials would stand beside means over all.
    if len(starts) == len(pairs):
        random = float(np.mean(starts))
    return DataResult(
        name=name,
        people=len(values),
        cells=cells,
        variant=float(np.mean([pair.variant.figures[metric] for pair in pairs])),
        against=float(np.mean([pair.against.figures[metric] for pair in pairs])),
        random=random,
        difference=float(values.mean()),
        interval=interval,
    )


def _pooled(results: Sequence[DataResult], interval: Interval | None) -> DataResult:
    """Return all data sets as one: every person counts the same."""
    people = [result.people for result in results]

    def mean(values: Sequence[float]) -> float:
        return float(np.average(values, weights=people))

    starts = [result.random for result in results if result.random is not None]
    random = None
    if len(starts) == len(results):
        random = mean(starts)
    return DataResult(
        name=ALL,
        people=sum(people),
        cells=sum(result.cells for result in results),
        variant=mean([result.variant for result in results]),
        against=mean([result.against for result in results]),
        random=random,
        difference=mean([result.difference for result in results]),
        interval=interval,
    )


def _finding(pooled: Interval | None, by_data: Sequence[Interval | None]) -> Finding:
    """Return the verdict of intervals.

    "better" needs a pooled interval above 0, and no data set that says the opposite: whose whole
    interval lies below 0. "worse" is the mirror.
    """
    if pooled is None:
        return "not told apart"
    known = [interval for interval in by_data if interval is not None]
    if pooled.low > 0 and not any(interval.high < 0 for interval in known):
        return "better"
    if pooled.high < 0 and not any(interval.low > 0 for interval in known):
        return "worse"
    return "not told apart"
