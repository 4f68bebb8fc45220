"""The history of a training: every logged row, in the run's `metrics.jsonl` and in MLflow."""

from __future__ import annotations

import time
from bisect import bisect_left
from itertools import pairwise
from typing import Any, Protocol

from models.monitors import collapsed
from pipeline.core.console import say
from pipeline.pretrain.checkpoint import Checkpoint
from pipeline.pretrain.loop import RECENT_ROWS
from pipeline.pretrain.metrics_file import MetricsFile
from pipeline.runs.files import METRICS
from pipeline.runs.metric_names import HELD_OUT_PREFIX, STEP, TIME, WATCH_PREFIX
from pipeline.runs.metric_rows import Row, read_rows

# What is measured of a checkpoint comes later than the rows of its training.
MEASURED = (WATCH_PREFIX, HELD_OUT_PREFIX)


class Metrics(Protocol):
    """Where the rows of a training go besides the file: its MLflow run."""

    def metrics(self, rows: list[Row]) -> None:
        """Take rows of metrics; those of steps that it has already are passed over."""

    def late_metrics(self, rows: list[Row]) -> None:
        """Take metrics that come later than the others of their steps."""

    def results(self, results: dict[str, Any]) -> None:
        """Take flat results."""


class History:
    """Every logged row of a training, in the order of steps, each step once.

    Figures of a checkpoint are measured beside training (`pipeline.pretrain.watch`) and come later
    than the row of their step. The file shows them in that row.

    Args:
        uri: the metrics file.
        tracker: the MLflow run.
        resume: the checkpoint that training goes on from, or None for a new training.

    Attributes:
        rows: all rows, with the figures of checkpoints.
        collapse: when and why features had collapsed, at the first logged step where they had.
    """

    def __init__(self, uri: str, tracker: Metrics, resume: Checkpoint | None = None):
        self.tracker = tracker
        self.rows: list[Row] = []
        self.collapse: str | None = None
        self._collapse_sent = False
        self._file = MetricsFile(uri, most_unwritten=RECENT_ROWS // 2)
        # What MLflow has not got yet.
        self._unsent: list[Row] = []
        self._unsent_figures: list[Row] = []
        if resume is not None:
            self._take(rows_until(resume, read_rows(uri)))
        self._file.write_whole()
        self.send()

    def extend(self, rows: list[Row]) -> None:
        """Write new rows.

        After a worker failed, training goes on from a checkpoint and steps come again. Their rows
        replace those that were there.

        Raises:
            UserError: the file cannot be written. The next call writes what is missing.
        """
        self._take(rows)
        # From here on a flush that fails loses nothing: the next one writes these rows, too.
        self._file.flush()

    def _take(self, rows: list[Row]) -> None:
        for row in rows:
            self._forget_from(row[STEP])
            self.rows.append(row)
            self._file.append(row)
            self._unsent.append(row)
            self._look_for_collapse(row)

    def _forget_from(self, step: int) -> None:
        """Drop the rows of `step` and of later ones."""
        if not self.rows or self.rows[-1][STEP] < step:
            return
        # A worker failed and training went back to a checkpoint.
        kept = self._number_of(step)
        del self.rows[kept:]
        self._file.cut(kept)
        self._unsent = [row for row in self._unsent if row[STEP] < step]

    def _number_of(self, step: int) -> int:
        """Number of the first row of `step` or of a later one."""
        return bisect_left(self.rows, step, key=lambda row: row[STEP])

    def _look_for_collapse(self, row: Row) -> None:
        if self.collapse is not None:
            return
        reason = collapsed(row)
        if reason is not None:
            self.collapse = f"step {row[STEP]}: {reason}"
            say(f"  collapsed at {self.collapse}; training goes on")

    def add(self, step: int, figures: dict[str, float]) -> None:
        """Add figures to the row of a step; without effect if a failed worker took the row along.

        Args:
            step: a step that was logged before.
            figures: what was measured of its checkpoint.

        Raises:
            UserError: the file cannot be written. The next call writes what is missing.
        """
        number = self._number_of(step)
        if number == len(self.rows) or self.rows[number][STEP] != step:
            return
        self.rows[number] = self.rows[number] | figures
        self._unsent_figures.append({STEP: step, TIME: time.time()} | figures)
        self._file.replace(number, self.rows[number])
        self._file.flush()

    def write(self) -> None:
        """Bring the metrics file up to date, on object storage too; for the end of training.

        Raises:
            UserError: it cannot be written.
        """
        self._file.finish()

    def send(self) -> None:
        """Bring MLflow up to date.

        Raises:
            UserError: it cannot be reached. The next call sends what is missing.
        """
        # Steps that MLflow has already, from before a kill, the tracker leaves out.
        if self._unsent:
            self.tracker.metrics(self._unsent)
            self._unsent = []
        if self._unsent_figures:
            self.tracker.late_metrics(self._unsent_figures)
            self._unsent_figures = []
        if self.collapse is not None and not self._collapse_sent:
            self.tracker.results({"collapsed": self.collapse})
            self._collapse_sent = True


def rows_until(checkpoint: Checkpoint, written: list[Row]) -> list[Row]:
    """The rows of a training until a checkpoint.

    The checkpoint carries the newest rows, the file has those before. An example with steps, where
    `w` marks figures that were measured of a checkpoint (they are in the file only):

        file         1  2  3w 4  5w 6  7          written by a driver that was killed
        checkpoint            4  5  6             at step 6, with its newest rows
        result       1  2  3w 4  5w 6             7 comes again

    Rows that neither of them has are named on the console, and training goes on without them.

    Args:
        checkpoint: what training goes on from.
        written: the rows of the metrics file.
    """
    recent: list[Row] = checkpoint.state["history"]
    first_recent = checkpoint.position.updates + 1
    if recent:
        first_recent = recent[0][STEP]
    figures_of: dict[int, dict[str, Any]] = {}
    rows: list[Row] = []
    for row in written:
        figures_of[row[STEP]] = {key: row[key] for key in row if key.startswith(MEASURED)}
        if row[STEP] < first_recent:
            rows.append(row)
    _say_which_rows_are_missing(rows, recent)
    for row in recent:
        rows.append(row | figures_of.get(row[STEP], {}))
    return rows


def _say_which_rows_are_missing(earlier: list[Row], recent: list[Row]) -> None:
    """Say which rows are neither in the file nor in the checkpoint.

    The widest step from one recent row to the next tells how far apart rows may be. An example with
    rows at every second step:

        earlier      ...  8  10
        recent                        42  44  46     10 to 42 is wider: 11 to 41 are missing

    Args:
        earlier: the rows of the file before the recent ones.
        recent: the rows that the checkpoint carries.
    """
    # A checkpoint with fewer rows carries all that were logged until then.
    if len(recent) < RECENT_ROWS:
        return
    widest = 0
    for row, following in pairwise(recent):
        widest = max(widest, following[STEP] - row[STEP])
    last_earlier = 0
    if earlier:
        last_earlier = earlier[-1][STEP]
    first_recent = recent[0][STEP]
    if first_recent - last_earlier > widest:
        first = last_earlier + 1
        say(f"  {METRICS} lacks the rows of steps {first} to {first_recent - 1}")
