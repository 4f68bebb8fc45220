"""A trial of several workers: Ray Train trains, and the process of the trial follows it.

    Ray Train's workers     train, write checkpoints, send messages
    the thread of `fit`     waits for Ray Train
    its `Follower`          takes the messages, and puts them into a queue
    the trial's own thread  takes them from the queue, measures checkpoints, reports

Reports are made where `run_trial` was called, because SystemExit comes out of them there. Workers
are then asked to stop: Ray Train, if it were killed, would leave their resources reserved.
"""

import threading
from dataclasses import dataclass
from queue import SimpleQueue

from pipeline.config.root import Config
from pipeline.pretrain import checkpoint
from pipeline.pretrain.cadence import Position
from pipeline.pretrain.channel import open_channel
from pipeline.pretrain.checkpoint import Checkpoint
from pipeline.pretrain.fit import fit
from pipeline.pretrain.loop import LoopSettings
from pipeline.pretrain.worker import TrainingJob
from pipeline.runs.directory import RunDirectory
from pipeline.runs.files import CHECKPOINTS
from pipeline.runs.metric_rows import Row
from pipeline.sweep.trial_reports import Training

# A checkpoint is not deleted while it is measured and the next one is written.
LEAST_KEPT = 2


@dataclass(frozen=True)
class _Written:
    """A checkpoint that was written after `epoch` whole epochs and `updates` updates."""

    uri: str
    epoch: int
    updates: int


# None: training is over.
_Event = list[Row] | _Written | None


class _Events:
    """What happens while Ray Train trains. Takes the place of a run's `History` and `Watch`."""

    def __init__(self) -> None:
        self.queue: SimpleQueue[_Event] = SimpleQueue()

    def extend(self, rows: list[Row]) -> None:
        """Take rows of metrics."""
        self.queue.put(rows)

    def offer(self, uri: str, epoch: int, step: int) -> None:
        """Take a checkpoint."""
        self.queue.put(_Written(uri, epoch, step))

    def poll(self, seconds: float = 0) -> None:
        """Nothing is measured here."""

    def add(self, step: int, figures: dict[str, float]) -> None:
        """Nothing is measured here."""

    def send(self) -> None:
        """The driver tells MLflow."""

    def write(self) -> None:
        """The driver writes the file."""

    def close(self) -> None:
        """There is nothing to close."""


class _Fit(threading.Thread):
    """Waits for Ray Train.

    Args:
        job: what the workers do.
        events: learns what happens.
        directory: of the trial.

    Attributes:
        final: the checkpoint at the end of training, None if it did not come to its end.
        error: why it did not.
    """

    def __init__(self, job: TrainingJob, events: _Events, directory: RunDirectory) -> None:
        super().__init__(daemon=True, name="ray train")
        self.job = job
        self.events = events
        self.directory = directory
        self.final: Checkpoint | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """Train to the last epoch, or until the workers are asked to stop."""
        try:
            self.final = fit(self.job, self.events, self.events, self.directory)
        except BaseException as error:
            self.error = error
        finally:
            self.events.queue.put(None)


def train_by_workers(training: Training, resume: str | None) -> str:
    """Train by Ray Train, and report on the way.

    Args:
        training: that is reported. Its framework has the trained weights afterwards.
        resume: the checkpoint to go on from, None for the start.

    Returns:
        The checkpoint at the end of training.

    Raises:
        LossNotFiniteError, TrialEndedError: training ends before.
        UserError: training cannot go on.
    """
    run = training.run
    job = TrainingJob(
        config=_with_kept_checkpoints(run.config),
        plan=training.order.plan,
        channel=open_channel(),
        checkpoints=run.directory.path(CHECKPOINTS),
        resume=resume,
    )
    events = _Events()
    thread = _Fit(job, events, run.directory)
    thread.start()
    try:
        _follow(events.queue, training)
    except BaseException:
        job.channel.ask_to_stop()
        raise
    finally:
        thread.join()
    if thread.error is not None:
        raise thread.error
    assert thread.final is not None
    training.framework.load_state_dict(thread.final.state["framework"])
    return thread.final.uri


def _with_kept_checkpoints(config: Config) -> Config:
    """Return the configuration with at least LEAST_KEPT checkpoints that are kept."""
    policy = config.train.checkpoint
    kept = policy.model_copy(update={"keep": max(policy.keep, LEAST_KEPT)})
    train = config.train.model_copy(update={"checkpoint": kept})
    return config.model_copy(update={"train": train})


def _follow(queue: "SimpleQueue[_Event]", training: Training) -> None:
    """Take what happens until training is over, and report at rungs."""
    settings = LoopSettings.of(training.run.config)
    updates_per_epoch = settings.cadence(training.order.plan.epochs.steps).updates_per_epoch
    while True:
        event = queue.get()
        if event is None:
            return
        if isinstance(event, list):
            for row in event:
                training.messenger.row(row)
            continue
        # Only whether it is 0 matters here: whether the checkpoint ends an epoch.
        updates_in_epoch = event.updates - event.epoch * updates_per_epoch
        position = Position(event.epoch, updates_in_epoch, event.updates)
        training.reached(position)
        if training.rungs.due(position):
            state = checkpoint.load(event.uri).state
            training.framework.load_state_dict(state["framework"])
            training.report()
