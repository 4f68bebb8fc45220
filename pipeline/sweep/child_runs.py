"""What the trials of a sweep tell their MLflow runs."""

from collections.abc import Iterable
from typing import Any

from pipeline.core import storage
from pipeline.runs.resolved import ResolvedRun
from pipeline.runs.tracking.children import Children, EndedTrial
from pipeline.runs.tracking.tags import (
    SWEEP_GROUP,
    SWEEP_NAME,
    SWEEP_PARAM_PREFIX,
    SWEEP_REASON,
    SWEEP_STATE,
)
from pipeline.sweep.trial import TrialRecord


class ChildMetrics:
    """Sends the metrics of a trial to its MLflow run, for its `History`.

    Args:
        children: the MLflow runs of all trials.
        name: of the trial.
    """

    def __init__(self, children: Children, name: str) -> None:
        self._children = children
        self._name = name

    def metrics(self, rows: list[dict[str, Any]]) -> None:
        """Send rows of metrics."""
        self._children.rows(self._name, rows)

    def late_metrics(self, rows: list[dict[str, Any]]) -> None:
        """Send what was measured after its rows."""
        self._children.late_rows(self._name, rows)

    def results(self, results: dict[str, Any]) -> None:
        """Send flat results."""
        self._children.results(self._name, results)


def tags_of(sweep: ResolvedRun, record: TrialRecord) -> dict[str, str]:
    """Return the tags of a trial: its sweep, its group, its state, and what is searched.

    A searched setting is a parameter of the MLflow run as well, among all others. The tags
    `sweep.param.KEY` say which settings these are.
    """
    tags = {
        SWEEP_NAME: sweep.config.name,
        SWEEP_GROUP: record.group,
        SWEEP_STATE: record.state,
        SWEEP_REASON: record.reason or "",
    }
    for key, value in record.params.items():
        tags[f"{SWEEP_PARAM_PREFIX}{key}"] = str(value)
    return tags


def status_of(record: TrialRecord) -> str:
    """Return the status of a trial's MLflow run. A trial that was stopped has done its work."""
    return {"failed": "FAILED", "open": "KILLED"}.get(record.state, "FINISHED")


def catch_up(children: Children, sweep: ResolvedRun, records: Iterable[TrialRecord]) -> None:
    """Complete the MLflow runs of trials that ended before the sweep was started again."""
    ended = []
    for record in records:
        if record.state != "open":
            place = storage.join(sweep.directory.uri, record.name)
            ended.append(EndedTrial(place, tags_of(sweep, record), status_of(record)))
    children.catch_up(ended)
