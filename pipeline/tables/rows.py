"""The rows of a table: means and deviations over seeds, and paired differences to the reference."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from pipeline.runs.metric_names import (
    ACCURACIES,
    COSTS,
    GFLOPS,
    KNN,
    LINEAR,
    PARAMETERS,
    PRETRAINING_GFLOPS,
    PRETRAINING_PARAMETERS,
    RETRIEVAL_MAP,
    random_start,
)
from pipeline.tables.noise import Noise
from pipeline.tables.verdicts import Judgement, Plan, PlannedTable, judge

# The row of the encoders before training.
RANDOM = "random"
# Accuracies of the encoder before training.
STARTS = (random_start(LINEAR), random_start(KNN), random_start(RETRIEVAL_MAP))

# The figures of one variant: seed -> name -> value.
FiguresBySeed = Mapping[int, Mapping[str, Any]]


class MeasuredRun(Protocol):
    """What was measured of one run of a table.

    Attributes:
        variant: of the table.
        seed: of the run.
        figures: name -> value.
    """

    @property
    def variant(self) -> str: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102
    @property
    def figures(self) -> Mapping[str, Any]: ...  # noqa: D102


class Recorded(MeasuredRun, Protocol):
    """What was measured of a run, and where that comes from.

    Attributes:
        experiment: the name of the table that it was measured for.
        command: what the whole table was asked for with.
        versions: of the libraries.
        workers: how many trained.
        gpu: whether each had one.
        date: on which the run was finished, as ISO 8601 writes it.
        seconds: that the run took.
        code_versions: the versions of the code that ran it.
        people: number of a test person, as text -> name -> value; empty where nobody knows them.
        plan: what the table was to tell when the run began, None if nothing.
        stores: the fingerprints of the clip store and of those that were pooled.
    """

    @property
    def experiment(self) -> str: ...  # noqa: D102
    @property
    def command(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def versions(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def workers(self) -> int: ...  # noqa: D102
    @property
    def gpu(self) -> bool: ...  # noqa: D102
    @property
    def date(self) -> str: ...  # noqa: D102
    @property
    def seconds(self) -> int: ...  # noqa: D102
    @property
    def code_versions(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def people(self) -> Mapping[str, Mapping[str, float]]: ...  # noqa: D102
    @property
    def plan(self) -> Plan | None: ...  # noqa: D102
    @property
    def stores(self) -> Sequence[str]: ...  # noqa: D102


AnyRun = TypeVar("AnyRun", bound=MeasuredRun)


class Spread(NamedTuple):
    """The mean over seeds, and the sample deviation from seed to seed (None of a single one)."""

    mean: float
    deviation: float | None


@dataclass(frozen=True)
class Row:
    """What a table shows of one variant.

    Attributes:
        variant: its name.
        seeds: that were measured.
        figures: name -> spread over these seeds, of every figure that all of them have.
        differences: name -> spread of the paired difference to the reference, over the seeds that
            both have.
        costs: see COSTS.
        collapsed: for how many seeds the features had collapsed when training ended.
    """

    variant: str
    seeds: tuple[int, ...]
    figures: dict[str, Spread]
    differences: dict[str, Spread]
    costs: dict[str, float]
    collapsed: int


@dataclass(frozen=True)
class Table:
    """Records of one table, and what follows from them.

    Attributes:
        name: of the table.
        reference: the variant that the others are compared with; it may have no records yet.
        records: at least one.
        rows: see `rows_of`.
        plans: what the table is to tell, each different plan once; most tables have none.
        noise: how far equal runs end apart. None if it was not measured, or if there is no plan.
    """

    name: str
    reference: str
    records: Sequence[Recorded]
    rows: list[Row]
    plans: list[Plan]
    noise: Noise | None

    @classmethod
    def of(
        cls,
        name: str,
        records: Iterable[Recorded],
        variants: Sequence[str],
        plan: Plan | None = None,
        noise: Noise | None = None,
    ) -> "Table":
        """Make the table of some records.

        Args:
            name: of the table.
            records: at least one.
            variants: the order of the rows; the first is the reference.
            plan: that stands in the file of the table today, beside those of its own records.
            noise: how far equal runs end apart.
        """
        ordered = in_order(records, variants)
        plans: list[Plan] = []
        if plan is not None:
            plans.append(plan)
        for record in ordered:
            # A record that was taken over from another table brings the plan of that one.
            is_own = record.experiment == name
            if is_own and record.plan is not None and record.plan not in plans:
                plans.append(record.plan)
        if not plans:
            noise = None
        return cls(name, variants[0], ordered, rows_of(ordered, variants), plans, noise)

    def judgements(self, plan: Plan) -> list[Judgement]:
        """Return what the records say to a plan."""
        return judge(plan, [PlannedTable(self.name, plan, self.records)])

    def planned(self, plan: Plan) -> int:
        """Return how many of the records are of trials that began when the plan had been made."""
        return sum(record.plan == plan for record in self.records)

    @property
    def has_splits(self) -> bool:
        """Whether protocols take turns from seed to seed."""
        first = self.records[0].figures["protocol"]
        return any(record.figures["protocol"] != first for record in self.records)


def in_order(records: Iterable[AnyRun], variants: Sequence[str]) -> list[AnyRun]:
    """Return records in the order of a table.

    Args:
        records: in any order.
        variants: the order of the rows. Records of variants that are not in it come last, and
            those of one variant by seed.
    """

    def key(record: AnyRun) -> tuple[int, str, int]:
        position = len(variants)
        if record.variant in variants:
            position = variants.index(record.variant)
        return position, record.variant, record.seed

    return sorted(records, key=key)


def spread(values: Sequence[float]) -> Spread:
    """Return mean and sample deviation of at least one value."""
    array = np.array(values, float)
    # One value has no deviation: numpy would say nan and warn.
    if len(array) == 1:
        return Spread(float(array[0]), None)
    return Spread(float(array.mean()), float(array.std(ddof=1)))


def at_least(value: Spread, deviation: float | None) -> Spread:
    """Return a spread whose deviation is no smaller than one that is known otherwise."""
    if deviation is None or (value.deviation is not None and value.deviation >= deviation):
        return value
    return Spread(value.mean, deviation)


def rows_of(records: Sequence[MeasuredRun], variants: Sequence[str]) -> list[Row]:
    """Return the rows of a table.

    Args:
        records: of its trials.
        variants: the order of the rows; those without records have none. The first is the
            reference.

    Returns:
        A row a variant, and last the row `random`: the reference's encoders before training.
    """
    # variant -> seed -> figures, because rows are compared seed by seed.
    by_variant: dict[str, dict[int, Mapping[str, Any]]] = {}
    for record in records:
        by_variant.setdefault(record.variant, {})[record.seed] = record.figures
    reference = by_variant.get(variants[0], {})
    rows = []
    for variant in variants:
        # A table that is being run may not have come to this variant yet.
        if variant in by_variant:
            rows.append(_row(variant, by_variant[variant], reference))
    if reference:
        rows.append(_row(RANDOM, _before_training(reference), reference))
    return rows


def flat(rows: Sequence[Row]) -> dict[str, float]:
    """Return the rows as results of a stage.

    Returns:
        `<variant>_<figure>`, its deviation `<variant>_<figure>_std`, and both of the difference:
        `<variant>_<figure>_difference` and `<variant>_<figure>_difference_std`. A figure that
        only some seeds of a variant have is left out, and so is its difference.
    """
    results: dict[str, float] = {}
    for row in rows:
        for name in ACCURACIES:
            # Some seeds lack the figure. A difference without its mean would mislead.
            if name not in row.figures:
                continue
            results |= _flat_spread(f"{row.variant}_{name}", row.figures[name])
            if name in row.differences:
                results |= _flat_spread(f"{row.variant}_{name}_difference", row.differences[name])
    return results


def _flat_spread(key: str, value: Spread) -> dict[str, float]:
    if value.deviation is None:
        return {key: value.mean}
    return {key: value.mean, f"{key}_std": value.deviation}


def _before_training(reference: FiguresBySeed) -> FiguresBySeed:
    """Return the figures of the reference's encoders before training, which cost no pretraining."""
    start: dict[int, dict[str, Any]] = {}
    for seed, figures in reference.items():
        start[seed] = {
            PARAMETERS: figures[PARAMETERS],
            GFLOPS: figures[GFLOPS],
            PRETRAINING_PARAMETERS: 0,
            PRETRAINING_GFLOPS: 0.0,
        }
        for name in ACCURACIES:
            if random_start(name) in figures:
                start[seed][name] = figures[random_start(name)]
    return start


def _row(variant: str, by_seed: FiguresBySeed, reference: FiguresBySeed) -> Row:
    first = next(iter(by_seed.values()))
    collapsed = [seed for seed, figures in by_seed.items() if "collapsed" in figures]
    return Row(
        variant=variant,
        seeds=tuple(sorted(by_seed)),
        figures=_spreads(by_seed),
        differences=_differences(by_seed, reference),
        # The same for all seeds.
        costs={name: first[name] for name in COSTS},
        collapsed=len(collapsed),
    )


def _spreads(by_seed: FiguresBySeed) -> dict[str, Spread]:
    """Return the spread of every accuracy that all seeds have."""
    spreads = {}
    for name in (*ACCURACIES, *STARTS):
        values = [figures[name] for figures in by_seed.values() if name in figures]
        # A figure that only some seeds have would be a mean over others than the row says.
        if len(values) == len(by_seed):
            spreads[name] = spread(values)
    return spreads


def _differences(by_seed: FiguresBySeed, reference: FiguresBySeed) -> dict[str, Spread]:
    """Return the paired differences to the reference; the reference itself has none.

        seed        0     1     2     5
        reference  0.90  0.80  0.85
        variant          0.79  0.82  0.10
        pairs           -0.01 -0.03          ->  -0.02 ± 0.014

    Seeds move both in the same direction, so that pairs scatter less than their members.
    """
    if by_seed is reference:
        return {}
    shared = sorted(by_seed.keys() & reference.keys())
    differences = {}
    for name in ACCURACIES:
        pairs = []
        for seed in shared:
            if name in by_seed[seed] and name in reference[seed]:
                pairs.append(by_seed[seed][name] - reference[seed][name])
        # A figure that only some of the seeds have would compare other seeds than the rest.
        if pairs and len(pairs) == len(shared):
            differences[name] = spread(pairs)
    return differences
