"""How well figures without labels would have chosen: what a search with labels says of them.

Whoever has no labels must choose by a figure such as the effective rank. A search with labels
measures these figures, too, so it can say what each would have chosen, and how it ranks points:

    point               0     1     2     3     4
    linear_top1        .61   .70   .66   .52   .58      what counts
    effective rank     180   240   310   150   170      Spearman's correlation 0.9
                                    ^ its choice        .66, where .70 is the best and .61 the mean
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.core.console import table
from pipeline.runs.metric_names import CRITERIA
from pipeline.sweep.points import Point, shown

# Fewer points have no order worth a word.
LEAST_POINTS = 5


@dataclass(frozen=True)
class FigureAgreement:
    """How well one figure agrees with the criterion.

    Attributes:
        spearman: Spearman's correlation of both over the points, from -1 to 1. It is above 0 if
            the figure calls those points good that the criterion calls good, whether a large or a
            small value of each is good. None if the figure is the same for all points.
        choice: the criterion's value of the point that the figure calls best.
    """

    spearman: float | None
    choice: float


@dataclass(frozen=True)
class Agreement:
    """How well the figures without labels agree with a criterion with labels.

    Attributes:
        metric: the criterion.
        epoch: after which all points were measured; None: at the end of each.
        points: how many points there are.
        best: the criterion's value of its best point.
        mean: the mean of the criterion over the points: what a choice by lot gives.
        figures: name of a figure -> how well it agrees.
    """

    metric: str
    epoch: int | None
    points: int
    best: float
    mean: float
    figures: dict[str, FigureAgreement]

    def summary(self) -> dict[str, float]:
        """Return flat results for the summary of the sweep."""
        prefix = "agreement" if self.epoch is None else "early_agreement"
        results: dict[str, float] = {
            f"{prefix}_points": self.points,
            f"{prefix}_best_{self.metric}": self.best,
            f"{prefix}_mean_{self.metric}": self.mean,
        }
        if self.epoch is not None:
            results[f"{prefix}_epoch"] = self.epoch
        for name, figure in self.figures.items():
            if figure.spearman is not None:
                results[f"{prefix}_{name}_spearman"] = figure.spearman
            results[f"{prefix}_{name}_choice_{self.metric}"] = figure.choice
        return results

    def show(self) -> None:
        """Print a table with a row for each figure."""
        label = CRITERIA[self.metric].label
        when = "finished points"
        if self.epoch is not None:
            when = f"points after epoch {self.epoch}, those that were stopped later included"
        title = (
            f"would figures without labels have chosen well? {self.points} {when}; {label}: "
            f"best {shown(self.metric, self.best)}, mean {shown(self.metric, self.mean)}"
        )
        rows = []
        for name, figure in self.figures.items():
            spearman = "-"
            if figure.spearman is not None:
                spearman = f"{figure.spearman:.2f}"
            rows.append([CRITERIA[name].label, spearman, shown(self.metric, figure.choice)])
        table(title, ["", "Spearman", f"its choice: {label}"], rows)


def agreements(points: Iterable[Point], metric: str) -> list[Agreement]:
    """Compare the figures without labels with the criterion of a search.

    A scheduler lets only good points come to their end, and an order among these says little. So
    if any was stopped, all points are compared, too, at the first epoch after which each of them
    was measured.

    Args:
        points: of the search.
        metric: its criterion.

    Returns:
        First of the finished points, then of all; nothing of fewer than `LEAST_POINTS`, and nothing
        if the criterion needs no labels.
    """
    if not CRITERIA[metric].needs_labels:
        return []
    names = [metric]
    for name, info in CRITERIA.items():
        if not info.needs_labels:
            names.append(name)
    known = list(points)
    finished = [point for point in known if point.state == "finished"]
    found = [_compare(metric, None, [_final_values(point, names) for point in finished])]
    if any(point.state == "stopped" for point in known):
        found.append(_early(metric, known, names))
    return [agreement for agreement in found if agreement is not None]


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Compute Spearman's correlation; None if all values of one side are the same."""
    a = _ranks(np.asarray(first))
    b = _ranks(np.asarray(second))
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def _final_values(point: Point, names: Sequence[str]) -> dict[str, float]:
    """Return the figures of a finished point: name -> mean over its seeds."""
    values = {}
    for name in names:
        value = point.value(name)
        assert value is not None
        values[name] = value
    return values


def _early(metric: str, points: Sequence[Point], names: Sequence[str]) -> Agreement | None:
    """Compare all points after the first epoch at which any was measured."""
    curves = []
    for point in points:
        curves.append({name: point.curve(name) for name in names})
    epochs = [min(curve[metric]) for curve in curves if curve[metric]]
    if not epochs:
        return None
    first = min(epochs)
    values = []
    for curve in curves:
        # A point that collapsed before was never measured.
        if all(first in curve[name] for name in names):
            values.append({name: curve[name][first] for name in names})
    return _compare(metric, first, values)


def _compare(
    metric: str, epoch: int | None, values: Sequence[Mapping[str, float]]
) -> Agreement | None:
    """Compare figures with the criterion; `values` has those of each point by name."""
    if len(values) < LEAST_POINTS:
        return None
    criterion = [point[metric] for point in values]
    goodness = _goodness(metric, criterion)
    figures = {}
    for name in values[0]:
        if name == metric:
            continue
        good = _goodness(name, [point[name] for point in values])
        figures[name] = FigureAgreement(spearman(good, goodness), criterion[int(np.argmax(good))])
    return Agreement(
        metric=metric,
        epoch=epoch,
        points=len(values),
        best=criterion[int(np.argmax(goodness))],
        mean=float(np.mean(criterion)),
        figures=figures,
    )


def _goodness(name: str, values: Sequence[float]) -> list[float]:
    """Return numbers of which a large one is good."""
    if CRITERIA[name].mode == "max":
        return list(values)
    return [-value for value in values]


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return the rank of each value, from 1; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]
