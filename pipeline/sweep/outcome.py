"""What came out of a search: how its trials ended, which point won, and what is made of it."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.config.sweep import Sweep
from pipeline.core.console import percent, say
from pipeline.core.errors import UserError
from pipeline.runs.metric_names import CRITERIA, HELD_OUT_PREFIX, is_accuracy
from pipeline.runs.resolved import ResolvedRun
from pipeline.sweep.agreement import agreements
from pipeline.sweep.comparison import of_trials
from pipeline.sweep.points import Point, points_of
from pipeline.sweep.trial import TrialRecord
from pipeline.tables.comparison import print_comparison, write_comparison

if TYPE_CHECKING:  # MLflow takes more than a second to import.
    from pipeline.runs.tracking import Tracker


def conclude(
    run: ResolvedRun, settings: Sweep, records: Sequence[TrialRecord], tracker: "Tracker"
) -> dict[str, Any]:
    """Show and write what came out of a search.

    Args:
        run: of the search.
        settings: of it.
        records: of all its trials, which have ended.
        tracker: its tracked run.

    Returns:
        Flat results for the summary: how many trials ended how, the winner with its value and
        settings, and how well figures without labels agree with the criterion.

    Raises:
        UserError: no point was finished.
    """
    assert settings.criterion is not None
    metric = settings.criterion.metric
    points = list(points_of(records, settings.space or {}, settings.seeds).values())
    results: dict[str, Any] = {"trials": len(records)}
    for state, count in sorted(Counter(record.state for record in records).items()):
        results[f"trials_{state}"] = count
    _show_trials(run, records, tracker, metric)
    for agreement in agreements(points, metric):
        agreement.show()
        results |= agreement.summary()
    best = best_point(points, metric)
    if best is None:
        raise UserError(f"{run.config.name}: no point was finished; {_first_reason(records)}")
    value = best.value(metric)
    assert value is not None
    results |= {"best": best.name, f"best_{metric}": value}
    for key, setting in best.params.items():
        results[f"best_{key}"] = setting
    shown = percent(value) if is_accuracy(metric) else f"{value:.4g}"
    say(f"  best: {best.name}, {CRITERIA[metric].label} {shown}")
    return results


def _show_trials(
    run: ResolvedRun, records: Sequence[TrialRecord], tracker: "Tracker", metric: str
) -> None:
    """Write the page of all trials, and show the best of them on the console."""
    figure = HELD_OUT_PREFIX + metric
    compared = of_trials(run, records)
    written = write_comparison(compared, run.directory.uri, run.config.name, figure=figure)
    tracker.artifacts(written)
    print_comparison(compared, run.config.name, figure=figure)
    say(f"  all trials: {written[0]}")


def best_point(points: Sequence[Point], metric: str) -> Point | None:
    """Return the finished point with the best value; the first of several that are equal."""
    sign = 1 if CRITERIA[metric].mode == "max" else -1
    best: Point | None = None
    best_value = 0.0
    for point in points:
        value = point.value(metric)
        if value is not None and (best is None or sign * value > best_value):
            best, best_value = point, sign * value
    return best


def _first_reason(records: Sequence[TrialRecord]) -> str:
    for record in records:
        if record.reason is not None:
            return f"{record.name}: {record.reason}"
    return "none came to its end"
