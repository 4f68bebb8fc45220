"""The points of a search: values for all searched keys, and what their trials came to."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from pipeline.config.sweep import Range
from pipeline.core.console import percent
from pipeline.core.errors import UserError
from pipeline.runs.metric_names import is_accuracy
from pipeline.sweep.space import Params, contains
from pipeline.sweep.trial import State, TrialRecord

_NAME = re.compile(r"point(\d{3,})")


@dataclass
class Point:
    """Values for all searched keys. It is run with every seed of the sweep.

    Attributes:
        number: of the point, from 0.
        params: key -> value.
        seeds: of the sweep.
        begun: the seeds whose trials were begun.
        records: the seed of a trial -> its newest record. A trial of this process has none before
            it ended.
    """

    number: int
    params: Params
    seeds: Sequence[int]
    begun: list[int] = field(default_factory=list)
    records: dict[int, TrialRecord] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the point: the group of its trials."""
        return point_name(self.number)

    @property
    def state(self) -> State:
        """What the trials of the point came to.

        A point of which one trial failed or was stopped has no mean over seeds. The trials of it
        that were not begun are never begun.
        """
        states = [record.state for record in self.records.values()]
        if "stopped" in states:
            return "stopped"
        if "failed" in states:
            return "failed"
        if states.count("finished") == len(self.seeds):
            return "finished"
        return "open"

    @property
    def missing(self) -> list[int]:
        """The seeds whose trials are still to be begun."""
        if self.state != "open":
            return []
        return [seed for seed in self.seeds if seed not in self.begun]

    def curve(self, metric: str) -> dict[int, float]:
        """Return the mean of a figure over the seeds: epoch -> mean, by epoch.

        It has the epochs after which each trial of the point that has a record was measured.
        """
        curves = []
        for record in self.records.values():
            curves.append(_curve(record, metric))
        if not curves:
            return {}
        means = {}
        for epoch in curves[0]:
            if all(epoch in curve for curve in curves):
                means[epoch] = fmean(curve[epoch] for curve in curves)
        return means

    def value(self, metric: str) -> float | None:
        """Return the mean of a figure over the seeds at their last epoch.

        None if a trial of the point is not finished.
        """
        if self.state != "finished":
            return None
        return fmean(final_value(record, metric) for record in self.records.values())


def point_name(number: int) -> str:
    """Return the name of a point."""
    return f"point{number:03d}"


def final_value(record: TrialRecord, metric: str) -> float:
    """Return a figure of a finished trial at its last epoch.

    Raises:
        UserError: it was not measured.
    """
    last = record.last_rung
    if last is None or metric not in last.figures:
        measured = ", ".join(last.figures) if last is not None else ""
        raise UserError(
            f"sweep.criterion.metric={metric}: {record.name} was finished without it; "
            f"it has {measured or 'no figure'}"
        )
    return last.figures[metric]


def shown(metric: str, value: float) -> str:
    """Return a figure of a point as people read it."""
    if is_accuracy(metric):
        return percent(value)
    return f"{value:.4g}"


def points_of(
    records: Sequence[TrialRecord], space: dict[str, Range], seeds: Sequence[int]
) -> dict[int, Point]:
    """Return the points that were begun: number -> point, by number.

    Records of other runs, such as those that confirm the winner, are left out.

    Raises:
        UserError: a record is of no point of the space.
    """
    points: dict[int, Point] = {}
    for record in records:
        named = _NAME.fullmatch(record.group)
        if named is None or record.seed not in seeds:
            continue
        number = int(named[1])
        if number not in points:
            points[number] = Point(number, record.params, seeds)
        point = points[number]
        if record.params != point.params or not contains(space, record.params):
            raise UserError(
                f"{record.name}: its trial.json has values that are not in the space of this "
                "search; choose another output"
            )
        point.begun.append(record.seed)
        point.records[record.seed] = record
    return dict(sorted(points.items()))


def _curve(record: TrialRecord, metric: str) -> dict[int, float]:
    curve = {}
    for rung in record.rungs:
        if metric in rung.figures:
            curve[rung.epoch] = rung.figures[metric]
    return curve
