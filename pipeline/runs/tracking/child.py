"""The MLflow run of one trial, and what it has not got yet."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pipeline.config.compose import Request
from pipeline.config.root import Config
from pipeline.core import storage
from pipeline.runs import files
from pipeline.runs.directory import RunDirectory
from pipeline.runs.metric_names import HELD_OUT_PREFIX, STEP
from pipeline.runs.metric_rows import Row
from pipeline.runs.tracking.contents import contents_of_trial, training_rows
from pipeline.runs.tracking.tags import EVERY_STEPS
from pipeline.runs.tracking.thinning import Thinning
from pipeline.runs.tracking.tracker import Tracker


@dataclass
class Pending:
    """What an MLflow run has not got yet, in the order in which it gets it.

    Attributes:
        rows: of metrics.
        late_rows: metrics that came later than the others of their steps.
        results: flat results of stages.
        tags: the name of a tag -> its text.
        status: its last status, None while it runs.
    """

    rows: list[Row] = field(default_factory=list)
    late_rows: list[Row] = field(default_factory=list)
    results: dict[str, Any] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    status: str | None = None

    def put_before(self, later: "Pending") -> "Pending":
        """Return this, which could not be sent, together with what came later."""
        return Pending(
            rows=self.rows + later.rows,
            late_rows=self.late_rows + later.late_rows,
            results=self.results | later.results,
            tags=self.tags | later.tags,
            status=later.status or self.status,
        )

    def is_empty(self) -> bool:
        """True if there is nothing to send."""
        return self == Pending()


class Child:
    """The MLflow run of one trial.

    Its methods put aside what MLflow is to get. `send` sends it.

    Args:
        config: of the trial.
        directory: of the trial.
        parent: the id of the MLflow run of the sweep.
        tags: of the MLflow run.
        request: the command line of the trial, None if it has none.
        updates: how many steps the training takes, None if nobody knows.

    Attributes:
        pending: what MLflow has not got yet.
        run_id: the id of the MLflow run, None before it was created.
    """

    def __init__(
        self,
        config: Config,
        directory: RunDirectory,
        parent: str,
        tags: Mapping[str, str],
        request: Request | None,
        updates: int | None,
    ) -> None:
        self.pending = Pending()
        self.run_id: str | None = directory.state.mlflow_run_id
        self._config = config
        self._directory = directory
        self._parent = parent
        self._request = request
        self._updates = updates
        self._thinning = Thinning(updates)
        # All of them, for an MLflow run that is made anew.
        self._tags = dict(tags)
        if self._thinning.every > 1:
            self._tags[EVERY_STEPS] = str(self._thinning.every)
        self._tracker: Tracker | None = None

    @property
    def is_open(self) -> bool:
        """Whether `send` has created the MLflow run, or found it."""
        return self._tracker is not None

    def add_rows(self, rows: list[Row]) -> None:
        """Put aside those rows of metrics that MLflow gets."""
        self.pending.rows.extend(self._thinning.take(rows))

    def add_late_rows(self, rows: list[Row]) -> None:
        """Put aside metrics that come later than the others of their steps."""
        for row in rows:
            # A rung has all the metrics of its step.
            if any(name.startswith(HELD_OUT_PREFIX) for name in row):
                self.pending.rows.extend(self._thinning.rest(row[STEP]))
            self.pending.late_rows.append(row)

    def add_tags(self, tags: Mapping[str, str]) -> None:
        """Put aside tags."""
        self._tags |= tags
        self.pending.tags |= tags

    def end(self, status: str) -> None:
        """Put aside the last row and the last status."""
        self.pending.rows.extend(self._thinning.rest())
        self.pending.status = status

    def follow(self, former: "Child") -> None:
        """Go on with the MLflow run of a former child of the same trial in the same directory."""
        if self._directory.moved_aside is None and self._directory.uri == former._directory.uri:
            self._directory.state.mlflow_run_id = former._directory.state.mlflow_run_id
            self._directory.state.mlflow_uri = former._directory.state.mlflow_uri

    def forget(self) -> None:
        """Look for the MLflow run again: it seems to be gone."""
        self._tracker = None

    def send(self, pending: Pending) -> None:
        """Send some of what was put aside. What was sent is removed from it.

        Raises:
            UserError: MLflow does not answer, or refuses.
        """
        tracker = self._open()
        tracker.metrics(pending.rows)
        pending.rows = []
        tracker.late_metrics(pending.late_rows)
        pending.late_rows = []
        tracker.results(pending.results)
        pending.results = {}
        tracker.set_tags(pending.tags)
        pending.tags = {}
        if pending.status is not None:
            summary = self._directory.path(files.SUMMARY)
            if storage.exists(summary):
                tracker.artifacts([summary])
            tracker.end(pending.status)
            pending.status = None

    def _open(self) -> Tracker:
        """Create the MLflow run, or find it, if that is not done yet."""
        if self._tracker is None:
            self._tracker = Tracker(
                self._config,
                self._directory,
                self._parent,
                request=self._request,
                tags=self._tags,
                contents_of=partial(contents_of_trial, updates=self._updates),
            )
            self.run_id = self._tracker.run_id
            # A driver may have been killed between the row of a rung and its figures.
            self._tracker.add_missing(training_rows(self._directory), HELD_OUT_PREFIX)
        return self._tracker
