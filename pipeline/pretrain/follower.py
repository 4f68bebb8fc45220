"""The thread on the driver that follows training while Ray Train blocks."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty
from typing import Protocol

from ray.exceptions import RayError

from pipeline.core import storage
from pipeline.core.console import Bar, say
from pipeline.core.errors import UserError, first_line
from pipeline.core.termination import ending
from pipeline.pretrain import checkpoint
from pipeline.pretrain.channel import Channel
from pipeline.pretrain.messages import (
    CheckpointWritten,
    Message,
    RowLogged,
    TrainingBegan,
    TrainingFailed,
    TrainingStopped,
)
from pipeline.pretrain.watch import WAIT_SECONDS
from pipeline.runs.metric_names import (
    CLIPS_PER_SECOND,
    EPOCH,
    LOSS,
    LOSS_TERM_PREFIX,
    STEP,
    WATCH_PREFIX,
)
from pipeline.runs.metric_rows import Row

# How long to wait before looking for messages again.
PAUSE_SECONDS = 0.5
# The same once training was asked to stop: whoever asked may not wait for long.
SHORT_PAUSE_SECONDS = 0.05
# How long to wait for the thread where Ray may be gone: a call of it may never return.
HURRIED_JOIN_SECONDS = 2


class TakesRows(Protocol):
    """Who keeps the rows of metrics: the `History` of a run."""

    def extend(self, rows: list[Row]) -> None:
        """Take new rows."""

    def add(self, step: int, figures: dict[str, float]) -> None:
        """Take what was measured of the checkpoint at a step."""

    def send(self) -> None:
        """Bring MLflow up to date."""

    def write(self) -> None:
        """Bring the metrics file up to date."""


class TakesCheckpoints(Protocol):
    """Who measures checkpoints: the `Watch` of a run."""

    def offer(self, uri: str, epoch: int, step: int) -> None:
        """Take a checkpoint that was written after `epoch` whole epochs and `step` updates."""

    def poll(self, seconds: float = 0) -> tuple[int, dict[str, float]] | None:
        """Return a step and what was measured of its checkpoint, None if nothing is new."""

    def close(self) -> None:
        """Measure nothing any more."""


class Outage:
    """A place that metrics go to, and that may be away for a while: training does not stop for it.

    Args:
        consequence: what becomes of the metrics meanwhile, for the console.
    """

    def __init__(self, consequence: str):
        self.consequence = consequence
        self._lasts = False

    @contextmanager
    def tolerated(self) -> Iterator[None]:
        """Say a UserError of the block instead of raising it, once until the block succeeds."""
        try:
            yield
            self._lasts = False
        except UserError as error:
            if not self._lasts:
                say(f"  {error}; {self.consequence}")
            self._lasts = True


class Follower(threading.Thread):
    """Brings metrics to the history, progress to the console, and checkpoints to the watch.

    Use it as a context manager around the training. Leaving it raises what went wrong in it.

    Args:
        channel: from the workers.
        history: receives the rows.
        bar: shows the progress.
        watch: measures checkpoints.
        attempt: where the checkpoints of this attempt are.
        require_owned: raises UserError if the output directory belongs to another process, which
            ends the following. Then nothing is written any more.

    Attributes:
        failure: why training cannot go on, if a worker said so.
    """

    def __init__(
        self,
        channel: Channel,
        history: TakesRows,
        bar: Bar,
        watch: TakesCheckpoints,
        attempt: str,
        require_owned: Callable[[], None] = lambda: None,
    ):
        super().__init__(daemon=True)
        self.channel = channel
        self.history = history
        self.bar = bar
        self.watch = watch
        self.attempt = attempt
        self.require_owned = require_owned
        self.failure: str | None = None
        # Whether training is over, and whether it was asked to end before. Both wake the thread.
        self._training_over = False
        self._stop_wanted = False
        self._woken = threading.Event()
        self._pause = PAUSE_SECONDS
        self._training_began = False
        # Raised in this thread, to be raised again in the driver's.
        self._error: Exception | None = None
        self._storage = Outage("rows are kept and written later")
        self._tracking = Outage("metrics are kept and sent later")
        # The newest figures of a checkpoint, as the console shows them.
        self._newest_figures = ""

    def __enter__(self) -> "Follower":
        self.start()
        return self

    def ask_to_stop(self) -> None:
        """Let training write a checkpoint and end. This returns at once, for a signal handler."""
        self._stop_wanted = True
        self._woken.set()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._training_over = True
        self._woken.set()
        if ending.hurried:
            self.join(HURRIED_JOIN_SECONDS)
        else:
            self.join()
        # A training that failed does not wait for figures of it.
        if kind is None and self._error is None:
            self._collect_figures(WAIT_SECONDS)
        if not ending.hurried:
            self.watch.close()
        failed = kind is not None or self.failure is not None or self._error is not None
        self._write_last_rows(failed)
        if ending.hurried or (kind is not None and not issubclass(kind, Exception)):
            # The reason is known already: without its cluster, or at its end, much else fails.
            return
        if isinstance(self._error, RayError):
            reason = first_line(self._error)
            raise UserError(f"training cannot be followed: {reason}") from self._error
        if self._error is not None:
            raise self._error

    def run(self) -> None:
        """Follow until the training ends; what came last is taken, too."""
        try:
            while not self._training_over:
                self._woken.wait(self._pause)
                self._woken.clear()
                if self._stop_wanted:
                    self._stop_wanted = False
                    self._stop_training()
                self._drain()
            self._drain()
        except Exception as error:
            self._error = error

    def _stop_training(self) -> None:
        """Ask the workers for a checkpoint and the end."""
        if not self._training_began:
            # They are being started: there is nothing to keep.
            ending.checkpoint_written()
            return
        self.channel.ask_to_stop()
        self._pause = SHORT_PAUSE_SECONDS

    def _drain(self) -> None:
        """Take all messages that have come."""
        self.require_owned()
        rows: list[Row] = []
        while True:
            try:
                message: Message = self.channel.get_nowait()
            except Empty:
                break
            if isinstance(message, RowLogged):
                rows.append(message.row)
            elif isinstance(message, CheckpointWritten):
                # The rows until this checkpoint are known before it is.
                self._take_rows(rows)
                rows = []
                position = message.position
                uri = storage.join(self.attempt, checkpoint.directory(position.updates))
                self.watch.offer(uri, position.epoch, position.updates)
            elif isinstance(message, TrainingFailed):
                self.failure = message.reason
            elif isinstance(message, TrainingBegan):
                self._training_began = True
            elif isinstance(message, TrainingStopped):
                # Nobody waits for Ray Train, which takes seconds to notice that its workers ended.
                ending.checkpoint_written()
        self._take_rows(rows)
        self._collect_figures()

    def _take_rows(self, rows: list[Row]) -> None:
        """Hand rows to the history, and show where training stands."""
        if not rows:
            return
        with self._storage.tolerated():
            self.history.extend(rows)
        with self._tracking.tolerated():
            self.history.send()
        self.bar.update(rows[-1][STEP], text=progress(rows[-1]) + self._newest_figures)

    def _collect_figures(self, seconds: float = 0) -> None:
        """Take the figures of a checkpoint, if they are there within so many seconds."""
        found = self.watch.poll(seconds)
        if found is None:
            return
        step, figures = found
        shown = []
        for name, value in figures.items():
            shown.append(f"{name.removeprefix(WATCH_PREFIX)} {value:.3f}")
        self._newest_figures = f"  (step {step}: {'  '.join(shown)})"
        with self._storage.tolerated():
            self.history.add(step, figures)
        with self._tracking.tolerated():
            self.history.send()

    def _write_last_rows(self, failed: bool) -> None:
        """Complete the metrics file.

        Args:
            failed: whether training failed. A storage that is away does not hide why.
        """
        try:
            self.require_owned()
            self.history.write()
        except UserError as error:
            if not failed:
                raise
            say(f"  {error}; the newest rows are not in it")


def progress(row: Row) -> str:
    """A row of metrics as the console shows it.

    Example: `epoch 3  loss 1.234  view 0.456  812 clips/s`
    """
    terms = []
    for name, value in row.items():
        if name.startswith(LOSS):
            terms.append(f"{name.removeprefix(LOSS_TERM_PREFIX)} {value:.3f}")
    speed = f"{row[CLIPS_PER_SECOND]:.0f} clips/s"
    return "  ".join([f"epoch {row[EPOCH] + 1}", *terms, speed])
