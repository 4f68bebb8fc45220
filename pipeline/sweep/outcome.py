"""What came out of a search: how its trials ended, and which point won."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.config.sweep import Sweep
from pipeline.core.console import say
from pipeline.core.errors import UserError
from pipeline.runs.metric_names import CRITERIA, HELD_OUT_PREFIX
from pipeline.runs.resolved import ResolvedRun
from pipeline.sweep.agreement import Agreement, agreements
from pipeline.sweep.comparison import of_trials
from pipeline.sweep.points import Point, points_of, shown
from pipeline.sweep.trial import TrialRecord
from pipeline.tables.comparison import print_comparison, write_comparison

if TYPE_CHECKING:  # MLflow takes more than a second to import.
    from pipeline.runs.tracking import Tracker


@dataclass(frozen=True)
class Outcome:
    """The points of a search whose trials have ended.

    Attributes:
        run: of the search.
        metric: the criterion.
        points: all of them.
        ranked: the finished ones, the best first.
        agreements: of the figures without labels with the criterion.
    """

    run: ResolvedRun
    metric: str
    points: list[Point]
    ranked: list[Point]
    agreements: list[Agreement]

    @classmethod
    def of(cls, run: ResolvedRun, settings: Sweep, records: Sequence[TrialRecord]) -> "Outcome":
        """Look at the records of a search; those of trials that confirm are passed over."""
        assert settings.criterion is not None
        metric = settings.criterion.metric
        points = list(points_of(records, settings.space or {}, settings.seeds).values())
        return cls(run, metric, points, _ranked(points, metric), agreements(points, metric))

    @property
    def winner(self) -> Point:
        """The point with the best value.

        Raises:
            UserError: no point was finished.
        """
        if not self.ranked:
            reason = _first_reason(self.points)
            raise UserError(f"{self.run.config.name}: no point was finished; {reason}")
        return self.ranked[0]

    @property
    def best_first(self) -> list[str]:
        """The names of the finished trials, those of the best point first."""
        return [record.name for point in self.ranked for record in point.records.values()]

    @property
    def records(self) -> list[TrialRecord]:
        """The records of all trials."""
        return [record for point in self.points for record in point.records.values()]

    def show(self, tracker: "Tracker") -> None:
        """Write the page of all trials, and show the best of them on the console.

        Raises:
            UserError: no point was finished. The page is there all the same.
        """
        figure = HELD_OUT_PREFIX + self.metric
        compared = of_trials(self.run, self.records)
        name = self.run.config.name
        written = write_comparison(compared, self.run.directory.uri, name, figure=figure)
        tracker.artifacts(written)
        print_comparison(compared, name, figure=figure)
        for agreement in self.agreements:
            agreement.show()
        say(f"  all trials: {written[0]}")
        value = shown(self.metric, self._value(self.winner))
        say(f"  best: {self.winner.name}, {CRITERIA[self.metric].label} {value}")

    def summary(self) -> dict[str, Any]:
        """Return flat results.

        How many trials there are (`trials`) and how they ended (`trials_stopped`), the winner
        (`best`) with its value (`best_linear_top1`) and its settings (`best_model.width`), and how
        well figures without labels agree with the criterion (see `Agreement.summary`).
        """
        results: dict[str, Any] = {"trials": len(self.records)}
        for state, count in sorted(Counter(record.state for record in self.records).items()):
            results[f"trials_{state}"] = count
        results |= {"best": self.winner.name, f"best_{self.metric}": self._value(self.winner)}
        for key, setting in self.winner.params.items():
            results[f"best_{key}"] = setting
        for agreement in self.agreements:
            results |= agreement.summary()
        return results

    def _value(self, point: Point) -> float:
        value = point.value(self.metric)
        assert value is not None
        return value


def _ranked(points: Sequence[Point], metric: str) -> list[Point]:
    """Return the finished points, the best first; of equal ones the first that was tried."""
    sign = -1 if CRITERIA[metric].mode == "max" else 1
    valued = []
    for point in points:
        value = point.value(metric)
        if value is not None:
            valued.append((sign * value, point))
    return [point for _, point in sorted(valued, key=lambda item: item[0])]


def _first_reason(points: Sequence[Point]) -> str:
    for point in points:
        for record in point.records.values():
            if record.reason is not None:
                return f"{record.name}: {record.reason}"
    return "none came to its end"
