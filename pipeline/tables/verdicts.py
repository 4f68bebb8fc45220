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

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

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
        people: number of a person, as text -> figure -> value, also of the encoder before training.
        stores: the fingerprints of the clip store and of those that were pooled.
    """

    @property
    def variant(self) -> str: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102
    @property
    def people(self) -> Mapping[str, Mapping[str, float]]: ...  # noqa: D102
    @property
    def stores(self) -> Sequence[str]: ...  # noqa: D102


@dataclass(frozen=True)
class PlannedTable:
    """A table that is judged.

    Attributes:
        name: of the table.
        plan: which seeds count, and which people do not.
        records: of its trials, none stale. Those of other variants and seeds do not count.
    """

    name: str
    plan: Plan
    records: Sequence[RunOfPeople]


@dataclass(frozen=True)
class DataResult:
    """What one data set says.

    Attributes:
        name: of the data set, or of all together.
        people: how many.
        cells: how many pairs of measurements, each of one person in one trial.
        variant: the figure, averaged over trials for each person, and then over people.
        against: the same of the variant that this one is compared with.
        random: the same of the encoder before training, None where it was not measured.
        difference: the mean over people.
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


class _Cell(NamedTuple):
    """What one trial measured of one person: of both variants, and before training."""

    variant: float
    against: float
    random: float | None


@dataclass(frozen=True)
class _Paired:
    """The pairs of one table.

    Attributes:
        name: of the table.
        store: the fingerprint of its clip store; empty if nothing was measured.
        cells: number of a person -> a cell for each pair that tested this person.
        missing: what was not measured.
    """

    name: str
    store: str
    cells: dict[str, list[_Cell]]
    missing: list[str]


def _paired(variant: str, against: str, metric: str, table: PlannedTable) -> _Paired:
    """Return the pairs of a table, and name what is missing."""
    records = {(record.variant, record.seed): record for record in table.records}
    store = ""
    if table.records:
        store = table.records[0].stores[0]
    paired = _Paired(table.name, store, {}, [])
    not_judged = {str(person) for person in table.plan.except_people}
    for seed in table.plan.seeds:
        runs = []
        for name in (variant, against):
            record = records.get((name, seed))
            if record is None:
                paired.missing.append(f"{table.name}: {name}-{seed}")
            elif not record.people:
                paired.missing.append(f"{table.name}: {name}-{seed} (no people are known)")
            else:
                runs.append(record)
        if len(runs) == 2:
            _pair(runs[0], runs[1], metric, paired, not_judged)
    return paired


def _pair(
    variant: RunOfPeople,
    against: RunOfPeople,
    metric: str,
    paired: _Paired,
    not_judged: Set[str],
) -> None:
    """Add the cells of two runs that differ in nothing but the variant, and what they lack."""
    people = (variant.people.keys() | against.people.keys()) - not_judged
    for person in sorted(people, key=_order):
        complete = True
        for run in (variant, against):
            if metric not in run.people.get(person, {}):
                name = f"{paired.name}: {run.variant}-{run.seed}"
                paired.missing.append(f"{name} (no {metric} of person {person})")
                complete = False
        if complete:
            mine, theirs = variant.people[person], against.people[person]
            cell = _Cell(mine[metric], theirs[metric], mine.get(random_start(metric)))
            paired.cells.setdefault(person, []).append(cell)


def _order(person: str) -> tuple[int, str]:
    """Sort numbers that are text: 2 before 10."""
    return len(person), person


def _judgement(against: str, metric: str, tables: Sequence[_Paired]) -> Judgement:
    missing = []
    data: dict[str, list[_Paired]] = {}
    for table in tables:
        missing += table.missing
        if table.cells:
            data.setdefault(table.store, []).append(table)
    if not data:
        return Judgement(against, metric, "incomplete", None, [], missing)
    by_name = {}
    differences = {}
    for parts in data.values():
        name = " + ".join(part.name for part in parts)
        by_name[name] = _merged(parts)
        differences[name] = _differences(by_name[name])
    found = intervals(differences)
    by_data = []
    for name, cells in by_name.items():
        by_data.append(_data_result(name, cells, differences[name], found.by_data[name]))
    finding: Finding = "incomplete"
    if not missing:
        finding = _finding(found.pooled, list(found.by_data.values()))
    return Judgement(against, metric, finding, _pooled(by_data, found.pooled), by_data, missing)


def _merged(tables: Sequence[_Paired]) -> list[list[_Cell]]:
    """Return the cells of each person of a data set, in the order of their numbers."""
    cells: dict[str, list[_Cell]] = {}
    for table in tables:
        for person, of_person in table.cells.items():
            cells.setdefault(person, []).extend(of_person)
    return [cells[person] for person in sorted(cells, key=_order)]


def _differences(people: Sequence[Sequence[_Cell]]) -> Values:
    """Return the mean difference of each person."""
    means = []
    for cells in people:
        means.append(np.mean([cell.variant - cell.against for cell in cells]))
    return np.array(means).round(DECIMALS)


def _data_result(
    name: str,
    people: Sequence[Sequence[_Cell]],
    differences: Values,
    interval: Interval | None,
) -> DataResult:
    starts: list[float] = []
    for cells in people:
        of_person = [cell.random for cell in cells if cell.random is not None]
        # A mean over some of the trials would stand beside means over all.
        if len(of_person) == len(cells):
            starts.append(float(np.mean(of_person)))
    random = None
    if len(starts) == len(people):
        random = float(np.mean(starts))
    return DataResult(
        name=name,
        people=len(people),
        cells=sum(map(len, people)),
        variant=float(np.mean([np.mean([cell.variant for cell in cells]) for cells in people])),
        against=float(np.mean([np.mean([cell.against for cell in cells]) for cells in people])),
        random=random,
        difference=float(differences.mean()),
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
