"""The searcher that Ray Tune asks for trials: it hands out those of a source, and keeps the book.

Tune's own state is never restored. At every start there is a new searcher over the records that the
trials' directories hold, and what is missing is handed out again.
"""

from collections.abc import Callable
from typing import Any, Protocol

import ray
from ray.tune import Callback, Stopper
from ray.tune.search import Searcher

from pipeline.core.console import say
from pipeline.core.errors import UserError, first_line
from pipeline.sweep.book import Book
from pipeline.sweep.messages import Order
from pipeline.sweep.progress import Progress
from pipeline.sweep.schedulers import RungMemory
from pipeline.sweep.trainable import CRITERION, REPORT, TRIAL
from pipeline.sweep.trial import State, Trial, TrialRecord

# A full disk or a lost store fails every trial. Then the others are left for another day.
MOST_FAILED_IN_A_ROW = 5


class Source(Protocol):
    """Where the trials of a sweep come from: a table, or a search."""

    def next_trial(self) -> Trial | None:
        """Return the next trial to run, None if there is none until another one ends."""

    def ended(self, record: TrialRecord) -> None:
        """Take note of a trial that has ended."""


class SourceSearcher(Searcher):
    """Hands out the trials of a source to Ray Tune.

    Args:
        source: of the trials.
        book: what the driver keeps of them.
        orders: Ray's handle of `Orders`.
        memory: brings the rungs of earlier attempts to the scheduler.
        progress: is shown on the console.
    """

    def __init__(
        self, source: Source, book: Book, orders: Any, memory: RungMemory, progress: Progress
    ) -> None:
        super().__init__()
        self.source = source
        self.book = book
        self.orders = orders
        self.memory = memory
        self.progress = progress
        # Tune's id of a trial -> its name.
        self.names: dict[str, str] = {}
        self._failed_in_a_row = 0
        # Why the sweep cannot go on.
        self.error: Exception | None = None

    def attempt(self, action: Callable[[], Any]) -> Any:
        """Do something that may fail. Then the sweep ends (see `StopOnError`).

        Tune takes most errors of a searcher for those of a trial, or only logs them.

        Returns:
            What the action returns; None if it fails, or something has failed before.
        """
        if self.error is not None:
            return None
        try:
            return action()
        except Exception as error:
            self.error = error
            return None

    def suggest(self, trial_id: str) -> Any:
        """Return the name of the next trial, as Tune's configuration of it.

        None makes Tune ask again: what is next may depend on a trial that is still running.
        """
        suggested = self.attempt(lambda: self._suggest(trial_id))
        if suggested is None and not self.names:
            return Searcher.FINISHED
        return suggested

    def _suggest(self, trial_id: str) -> dict[str, Any] | None:
        while True:
            trial = self.source.next_trial()
            if trial is None:
                return None
            order = self.book.open(trial)
            if isinstance(order, Order):
                break
            # It was finished before; only its record did not say so.
            self._settle(order)
        self.hand_out(order)
        self.names[trial_id] = trial.name
        self.memory.recall(trial_id, self.book.running(trial.name).record)
        self.progress.begin(trial.name)
        return {TRIAL: trial.name}

    def hand_out(self, order: Order) -> None:
        """Let the process of a trial find its order."""
        ray.get(self.orders.put.remote(order))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Write how a trial ended. Why one failed, `BookKeeper` learns after this."""
        if not error:
            reason = self.memory.reason(result or {})
            self.attempt(lambda: self.close(trial_id, "stopped", reason))

    def close(self, trial_id: str, state: State, reason: str) -> None:
        """Write how a trial ended; `state` and `reason` as in `Book.close`."""
        name = self.names.pop(trial_id)
        self.orders.drop.remote(name)
        self._settle(self.book.close(name, state, reason))

    def _settle(self, record: TrialRecord) -> None:
        self.source.ended(record)
        self.progress.end(record)
        self._failed_in_a_row = self._failed_in_a_row + 1 if record.state == "failed" else 0
        if self._failed_in_a_row == MOST_FAILED_IN_A_ROW:
            raise UserError(
                f"{MOST_FAILED_IN_A_ROW} trials in a row failed, the last one ({record.name}) "
                f"because: {record.reason}; the same command tries them again"
            )

    def save(self, checkpoint_path: str) -> None:
        """Write nothing: the records of the trials are all there is to remember."""

    def restore(self, checkpoint_path: str) -> None:
        """Read nothing, see `save`."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Write nothing, see `save`."""

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune writes a copy of the searcher, which nobody reads."""
        return {}


class BookKeeper(Callback):
    """Writes what trials report, and what becomes of those that fail.

    Tune tells a searcher nothing of a result at which the scheduler stops the trial, and not why a
    trial failed. It tells callbacks.
    """

    def __init__(self, searcher: SourceSearcher) -> None:
        self.searcher = searcher

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing, see `SourceSearcher.__getstate__`."""
        return {}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
    ) -> None:
        """Write what a trial reports."""
        self.searcher.attempt(lambda: self._report(trial.config[TRIAL], result))

    def _report(self, name: str, result: dict[str, Any]) -> None:
        [report] = result[REPORT]
        self.searcher.book.report(name, report)
        self.searcher.progress.report(name, report.epoch, result.get(CRITERION))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Let a trial whose process died go on from its newest checkpoint."""
        self.searcher.attempt(lambda: self._recover(trial.config[TRIAL], _reason(trial)))

    def _recover(self, name: str, reason: str) -> None:
        say(f"  {name}: {reason}; it goes on from its newest checkpoint")
        self.searcher.hand_out(self.searcher.book.reopen(name))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Write that a trial was given up, and why."""
        reason = _reason(trial)
        self.searcher.attempt(lambda: self.searcher.close(trial.trial_id, "failed", reason))


class StopOnError(Stopper):
    """Ends all trials once the sweep cannot go on."""

    def __init__(self, searcher: SourceSearcher) -> None:
        self.searcher = searcher

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return whether a trial is to end."""
        return self.stop_all()

    def stop_all(self) -> bool:
        """Return whether all trials are to end."""
        return self.searcher.error is not None


def _reason(trial: Any) -> str:
    """Return in one line why a trial failed the last time."""
    error = trial.get_pickled_error()
    return first_line(error) if error is not None else "its process ended"
