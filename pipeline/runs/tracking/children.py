"""The MLflow runs of the trials of a sweep, which a thread of the driver brings up to date.

The driver calls this from the loop of Ray Tune, which must not wait for MLflow. So each call puts
aside what MLflow is to get, and a thread sends it: at most one batch a trial a second. While MLflow
does not answer, all is kept.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from mlflow.entities import Run

from pipeline.config.compose import Request
from pipeline.config.root import Config
from pipeline.core.console import say
from pipeline.core.errors import UserError
from pipeline.runs import files
from pipeline.runs.directory import RunDirectory, saved_config
from pipeline.runs.metric_rows import Row
from pipeline.runs.state import RunState, read_state
from pipeline.runs.tracking.child import Child, Pending
from pipeline.runs.tracking.contents import training_rows
from pipeline.runs.tracking.store import TrackingError
from pipeline.runs.tracking.sweep_run import SweepRun
from pipeline.runs.tracking.tags import INCOMPLETE, OUTPUT
from pipeline.runs.tracking.tracker import Tracker

# Between two batches of a trial, in seconds.
BATCH_SECONDS = 1.0
# After MLflow did not answer, and after it refused something of one trial.
OUTAGE_SECONDS = 5.0
REFUSAL_SECONDS = 30.0
# How long a sweep that was ended from outside waits for MLflow.
LAST_SECONDS = 20.0
# MLflow's reasons for refusing something of one run, for example because it was deleted.
REFUSALS = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "INVALID_STATE")


@dataclass(frozen=True)
class EndedTrial:
    """A trial that ended at an earlier start of the sweep.

    Attributes:
        output: its directory.
        tags: that its MLflow run should have.
        status: that its MLflow run should have.
    """

    output: str
    tags: dict[str, str]
    status: str


class Children:
    """The MLflow runs of the trials of a sweep. Use it as a context.

    All methods return at once; what MLflow gets of them comes later. A trial is named by the name
    of its run. One that is begun again goes on with its MLflow run.

    Args:
        parent: the tracked run of the sweep.
    """

    def __init__(self, parent: Tracker) -> None:
        self._parent = parent
        self._sweep = SweepRun(parent)
        # The names of trials, the best first.
        self._best: Sequence[str] = ()
        # The ids of the MLflow runs of trials that ended at an earlier start.
        self._ids: dict[str, str] = {}
        # Of everything below, which two threads use.
        self._changed = threading.Condition()
        self._children: dict[str, Child] = {}
        # When a trial may be sent something again, and when MLflow may be asked at all.
        self._not_before: dict[str, float] = {}
        self._no_calls_before = 0.0
        self._is_out = False
        # The trials whose refusals were said.
        self._said: set[str] = set()
        self._is_closing = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True, name="MLflow of trials")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Send what is left. If the sweep failed already, do not wait long, and raise nothing."""
        try:
            self.close(None if kind is None else LAST_SECONDS)
        except Exception:
            if kind is None:
                raise

    def begin(
        self,
        config: Config,
        directory: RunDirectory,
        tags: Mapping[str, str],
        *,
        request: Request | None = None,
        updates: int | None = None,
    ) -> None:
        """Begin a trial, or go on with it. Its name is that of its configuration.

        Args:
            config: of the trial.
            directory: of the trial. Its state file keeps the id of the MLflow run.
            tags: of the MLflow run.
            request: the command line of the trial.
            updates: how many steps its training takes, None if nobody knows. Of a long training
                fewer rows are logged (`pipeline.runs.tracking.thinning`).
        """
        child = Child(config, directory, self._parent.run_id, tags, request, updates)
        with self._changed:
            former = self._children.get(config.name)
            if former is not None:
                child.follow(former)
            self._children[config.name] = child
            self._not_before[config.name] = 0.0
            self._changed.notify()

    def catch_up(self, ended: Sequence[EndedTrial]) -> None:
        """Complete the MLflow runs of trials that ended at an earlier start.

        A driver may have been killed before all was sent, and MLflow runs may have been deleted.
        This asks MLflow once, at the start of a sweep. What is missing comes later.

        Args:
            ended: all trials that ended.

        Raises:
            UserError: MLflow does not answer, or the configuration of a trial is damaged.
        """
        tracked: dict[str, Run] = {}
        for run in self._sweep.trials():
            tracked[run.data.tags.get(OUTPUT, "")] = run
        for trial in ended:
            known = tracked.get(trial.output)
            if known is not None and _is_whole(known, trial):
                self._ids[known.info.run_name] = known.info.run_id
                continue
            saved = saved_config(trial.output)
            tracking = saved.tracking.model_copy(update={"uri": self._parent.uri})
            config = saved.model_copy(update={"tracking": tracking})
            directory = RunDirectory(trial.output)
            directory.state = read_state(directory.path(files.STATE)) or RunState()
            self.begin(config, directory, trial.tags)
            if known is not None and INCOMPLETE not in known.data.tags:
                # It was begun before the trial had any of these. One made anew gets them all.
                self.rows(config.name, training_rows(directory))
                for results in directory.state.stages.values():
                    self.results(config.name, results)
            self.end(config.name, trial.status)

    def best(self, names: Sequence[str]) -> None:
        """Say which trials are the best, the best first. The sweep gets tags and links of them."""
        with self._changed:
            self._best = tuple(names)
            self._changed.notify()

    def rows(self, name: str, rows: list[Row]) -> None:
        """Log metrics of a trial: some of the rows, and each one that has figures of a rung."""
        with self._changed:
            self._children[name].add_rows(rows)
            self._changed.notify()

    def late_rows(self, name: str, rows: list[Row]) -> None:
        """Log metrics of a trial that come later than the others of their steps."""
        with self._changed:
            self._children[name].add_late_rows(rows)
            self._changed.notify()

    def results(self, name: str, results: Mapping[str, Any]) -> None:
        """Log the results of a stage of a trial."""
        with self._changed:
            self._children[name].pending.results |= results
            self._changed.notify()

    def tags(self, name: str, tags: Mapping[str, str]) -> None:
        """Set tags of a trial."""
        with self._changed:
            self._children[name].add_tags(tags)
            self._changed.notify()

    def end(self, name: str, status: str) -> None:
        """End a trial: `FINISHED`, `FAILED` or `KILLED`. Nothing of it is thinned any more."""
        with self._changed:
            self._children[name].end(status)
            self._changed.notify()

    def close(self, seconds: float | None = None) -> None:
        """Send what is left, and end the thread.

        Args:
            seconds: how long to wait; None as long as it takes.

        Raises:
            UserError: MLflow does not take it.
        """
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join(seconds)
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        """Send until `close`, and then what is left."""
        try:
            while not self._wait():
                self._send_due()
            self._send_rest()
        except BaseException as error:
            # `close` raises it in the thread of the sweep.
            self._error = error

    def _wait(self) -> bool:
        """Wait until there is something to send. True if the thread is to end."""
        with self._changed:
            while not self._is_closing:
                moments = [self._not_before[name] for name in self._unsent()]
                moments.append(self._sweep.system.next_sample)
                left = max(min(moments), self._no_calls_before) - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
            return True

    def _unsent(self) -> list[str]:
        """Return the names of the trials of which MLflow has not got all."""
        names = []
        for name, child in self._children.items():
            if not child.is_open or not child.pending.is_empty():
                names.append(name)
        return names

    def _send_due(self) -> None:
        """Send one batch of each trial that had none in the last second."""
        with self._changed:
            now = time.monotonic()
            due = [name for name in self._unsent() if self._not_before[name] <= now]
        if self._sweep.system.next_sample <= now:
            self._sweep.take_sample()
        try:
            for name in due:
                self._send_one(name)
            self._sweep.send(self._best_run())
        except UserError as error:
            self._out(error)
        else:
            self._back()

    def _send_one(self, name: str) -> None:
        """Send one batch of a trial. Raises UserError if MLflow does not answer."""
        self._not_before[name] = time.monotonic() + BATCH_SECONDS
        try:
            self._send(name)
        except UserError as error:
            if not is_refusal(error):
                raise
            self._refused(name, error)

    def _best_run(self) -> tuple[str, str] | None:
        """Return the name of the best trial and the id of its MLflow run, if it is known."""
        with self._changed:
            if not self._best:
                return None
            name = self._best[0]
            run_id = self._ids.get(name)
            if name in self._children:
                run_id = self._children[name].run_id
        if run_id is None:
            return None
        return name, run_id

    def _send(self, name: str) -> None:
        """Send one batch of a trial. What could not be sent is kept."""
        with self._changed:
            child = self._children[name]
            pending, child.pending = child.pending, Pending()
        try:
            child.send(pending)
        except UserError:
            with self._changed:
                child.pending = pending.put_before(child.pending)
            raise

    def _send_rest(self) -> None:
        """Send all that is left.

        Raises:
            UserError: something cannot be sent.
        """
        first: UserError | None = None
        for name in self._unsent():
            try:
                self._send_persistently(name)
            except UserError as error:
                first = first or error
                if not is_refusal(error):
                    break
        if first is None:
            self._sweep.send(self._best_run())
            self._sweep.conclude(self._best)
            self._back()
        else:
            trials = ", ".join(self._unsent())
            raise UserError(f"{first}; not all of these trials was sent: {trials}") from first

    def _send_persistently(self, name: str) -> None:
        """Send what is left of a trial, to a new MLflow run if the old one is gone."""
        try:
            self._send(name)
        except UserError as error:
            if not is_refusal(error):
                raise
            self._children[name].forget()
            self._send(name)

    def _out(self, error: UserError) -> None:
        """Note that MLflow does not answer, and say so once."""
        self._no_calls_before = time.monotonic() + OUTAGE_SECONDS
        if not self._is_out:
            say(f"  MLflow: {error}; the trials go on, and what it lacks is sent later")
        self._is_out = True

    def _back(self) -> None:
        """Note that MLflow answers."""
        if self._is_out:
            say("  MLflow answers again, and gets what it lacks")
        self._is_out = False

    def _refused(self, name: str, error: UserError) -> None:
        """Note that MLflow does not take something of one trial."""
        child = self._children[name]
        if child.is_open:
            # Its run may be deleted. Then the next batch goes to a new one.
            child.forget()
            return
        self._not_before[name] = time.monotonic() + REFUSAL_SECONDS
        if name not in self._said:
            say(f"  MLflow: {name}: {error}; the trial goes on, and it is tried again")
        self._said.add(name)


def _is_whole(run: Run, trial: EndedTrial) -> bool:
    """True if an MLflow run has all of a trial that ended."""
    tags = run.data.tags
    if run.info.status != trial.status or INCOMPLETE in tags:
        return False
    return all(tags.get(name) == text for name, text in trial.tags.items())


def is_refusal(error: UserError) -> bool:
    """True if MLflow answers, and does not take what it was given."""
    return isinstance(error, TrackingError) and error.code in REFUSALS
