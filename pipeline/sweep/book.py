"""What the driver keeps of the trials that are running: their directories, records and metrics.

The driver alone writes them. The process of a trial writes checkpoints and exports, and reports.
"""

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pipeline.config.identity import digest
from pipeline.config.sweep import Sweep
from pipeline.core.console import say
from pipeline.core.errors import ConfigError, UserError
from pipeline.pretrain import checkpoint
from pipeline.pretrain.history import History
from pipeline.pretrain.loop import LoopSettings
from pipeline.runs import files
from pipeline.runs.code_version import code_version
from pipeline.runs.directory import RunDirectory
from pipeline.runs.metric_names import HELD_OUT_PREFIX, STEP
from pipeline.runs.owner import Ownership, take
from pipeline.runs.perform import write_summary
from pipeline.runs.resolved import ResolvedRun
from pipeline.runs.tracking.children import Children
from pipeline.sweep.child_runs import ChildMetrics, catch_up, status_of, tags_of
from pipeline.sweep.messages import Order, Report
from pipeline.sweep.schedulers import is_scheduled
from pipeline.sweep.streams import Streams
from pipeline.sweep.trial import Rung, State, Trial, TrialRecord, read_record, write_record
from pipeline.tables.compared import SECONDS


@dataclass
class RunningTrial:
    """A trial that is running, and all that the driver writes of it."""

    trial: Trial
    record: TrialRecord
    directory: RunDirectory
    owner: Ownership
    history: History
    order: Order
    reported: float


class Book:
    """The running trials of a sweep.

    Args:
        sweep: the run of the sweep.
        settings: of these trials.
        children: the MLflow runs of the trials.
    """

    def __init__(self, sweep: ResolvedRun, settings: Sweep, children: Children) -> None:
        self.sweep = sweep
        self.settings = settings
        self.children = children
        self.streams = Streams()
        self._running: dict[str, RunningTrial] = {}
        # Before the trials, which may take days: meanwhile somebody may change the code.
        self._code = code_version()

    def open(self, trial: Trial) -> Order | TrialRecord:
        """Begin a trial, or go on with it.

        Returns:
            What its process is to do. The record, if the trial was finished by a driver that was
            killed before it could say so.

        Raises:
            UserError: its directory belongs to another process, or its stores cannot be opened.
        """
        owner = self._own(trial)
        try:
            return self._open(trial, owner)
        except BaseException:
            owner.release()
            raise

    def _open(self, trial: Trial, owner: Ownership) -> Order | TrialRecord:
        directory = _take_up(trial, owner)
        record = _record_of(trial)
        if not directory.unfinished(trial.config) and self._is_measured(trial, record):
            record = self._adopt(trial, record, directory)
            owner.release()
            return record
        return self._begin(trial, record, directory, owner)

    def _is_measured(self, trial: Trial, record: TrialRecord) -> bool:
        """True if a trial has all its rungs. One that somebody ran alone has none."""
        if self.settings.criterion is None:
            return True
        last = record.last_rung
        return last is not None and last.epoch == trial.config.train.epochs

    def _begin(
        self, trial: Trial, record: TrialRecord, directory: RunDirectory, owner: Ownership
    ) -> Order:
        """Begin a trial in its directory, or go on with it there."""
        write_record(directory.uri, record)
        plan = self.streams.open(trial, directory)
        updates = LoopSettings.of(trial.config).cadence(plan.epochs.steps).updates
        self.children.begin(
            trial.config,
            directory,
            tags_of(self.sweep, record),
            request=trial.request,
            updates=updates,
        )
        last = checkpoint.newest(directory.path(files.CHECKPOINTS))
        metrics = ChildMetrics(self.children, trial.name)
        history = History(directory.path(files.METRICS), metrics, last)
        order = Order(
            config=trial.config,
            request=trial.request,
            plan=plan,
            attempt=directory.attempt,
            resume=last.uri if last is not None else None,
            measured=tuple(rung.epoch for rung in record.rungs),
            is_scheduled=is_scheduled(record, self.settings),
            criterion=self.settings.criterion,
            # A collapsed trial is a result in a table, and a waste of time in a search.
            stops_collapsed=self.settings.criterion is not None,
            gpu_share=self.settings.gpu_share,
        )
        self._running[trial.name] = RunningTrial(
            trial, record, directory, owner, history, order, time.monotonic()
        )
        return order

    def _adopt(self, trial: Trial, record: TrialRecord, directory: RunDirectory) -> TrialRecord:
        """Write that a trial is finished, whose stages all are."""
        figures = write_summary(trial.config, directory)
        directory.conclude()
        finished = _with(record, state="finished", figures=figures)
        write_record(directory.uri, finished)
        catch_up(self.children, self.sweep, [finished])
        return finished

    def reopen(self, name: str) -> Order:
        """Return what the process of a trial is to do after the former one died."""
        running = self._running[name]
        directory = _take_up(running.trial, running.owner)
        # Even if it had told the end: then only that comes again.
        return self._begin(running.trial, _record_of(running.trial), directory, running.owner)

    def running(self, name: str) -> RunningTrial:
        """Return a running trial."""
        return self._running[name]

    def report(self, name: str, report: Report) -> None:
        """Write what the process of a trial has reported.

        Raises:
            UserError: the directory belongs to another process, or cannot be written.
        """
        running = self._running[name]
        running.directory.require_owned()
        running.history.extend(report.rows)
        now = time.monotonic()
        update: dict[str, Any] = {"seconds": running.record.seconds + now - running.reported}
        running.reported = now
        if report.figures:
            rung = Rung(epoch=report.epoch, figures=report.figures, time=time.time())
            # A process that died after a report measures that rung once more, with the same result.
            earlier = [other for other in running.record.rungs if other.epoch < rung.epoch]
            update["rungs"] = [*earlier, rung]
            figures = {HELD_OUT_PREFIX + key: value for key, value in report.figures.items()}
            running.history.add(running.history.rows[-1][STEP], figures)
        running.history.send()
        running.record = _with(running.record, **update)
        if report.results:
            # First the last rung. A driver may be killed between this and the end.
            write_record(running.directory.uri, running.record)
            self._finish(running, report)
        elif report.ended is not None:
            state: State = "failed" if report.failed else "stopped"
            running.record = _with(running.record, state=state, reason=report.ended)
        write_record(running.directory.uri, running.record)

    def _finish(self, running: RunningTrial, report: Report) -> None:
        """Write the results of a trial that came to its end."""
        directory = running.directory
        for stage, results in report.results.items():
            directory.state.seconds[stage] = report.seconds[stage]
            directory.state.code[stage] = self._code
            directory.finish(stage, results)
            self.children.results(running.trial.name, results)
        figures = write_summary(running.trial.config, directory)
        directory.conclude()
        running.record = _with(running.record, state="finished", figures=figures)

    def close(self, name: str, state: State, reason: str) -> TrialRecord:
        """End a trial.

        Args:
            name: of the trial.
            state: what it is, unless its last report says that it was finished or stopped.
            reason: why it is that.

        Returns:
            Its record.
        """
        running = self._running.pop(name)
        if running.record.state == "open":
            running.record = _with(running.record, state=state, reason=reason)
            write_record(running.directory.uri, running.record)
        running.history.write()
        running.history.send()
        record = running.record
        self.children.tags(name, tags_of(self.sweep, record))
        # MLflow knows when its run began and ended. A restart may have come days later.
        self.children.results(name, {SECONDS: round(record.seconds, 1)})
        self.children.end(name, status_of(record))
        self.streams.close(name)
        running.owner.release()
        return record

    def abandon(self) -> None:
        """Let go the directories of trials that are still running. They stay open."""
        for running in self._running.values():
            self.children.end(running.trial.name, status_of(running.record))
            # One that is lost is not ours to let go. The others are.
            with suppress(UserError):
                running.owner.release()
        self._running.clear()

    def _own(self, trial: Trial) -> Ownership:
        """Become the owner of a trial's directory. Somebody may run the trial alone."""
        try:
            owner = take(trial.config.output, interrupts=False)
        except ConfigError as error:
            # The sweep was begun already.
            raise UserError(str(error)) from None
        return owner.__enter__()


def _take_up(trial: Trial, owner: Ownership) -> RunDirectory:
    """Open the directory of a trial. A run of other settings in it is moved aside."""
    config = trial.config
    # The group may have meant something else when the trial was begun.
    try:
        directory = RunDirectory.open(config)
    except ConfigError as error:
        say(f"  {error}: it is moved aside")
        config = config.model_copy(update={"fresh": True})
        directory = RunDirectory.open(config)
    directory.begin(config, owner)
    return directory


def _record_of(trial: Trial) -> TrialRecord:
    """Return the record in a trial's directory, or a new one."""
    hash_now = digest(trial.config)
    known = read_record(trial.config.output)
    if known is not None and known.hash == hash_now:
        return _with(known, state="open", reason=None)
    return TrialRecord(
        name=trial.name,
        group=trial.group,
        seed=trial.config.seed,
        overrides=trial.overrides,
        params=trial.params,
        hash=hash_now,
        plan=trial.plan,
    )


def _with(record: TrialRecord, **update: Any) -> TrialRecord:
    return record.model_copy(update=update)
