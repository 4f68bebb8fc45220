"""How far a sweep is, on the console: trials that ended, those that run, and the best so far."""

from collections.abc import Sequence

from pipeline.config.sweep import Criterion
from pipeline.core.console import Bar, say
from pipeline.runs.metric_names import CRITERIA
from pipeline.sweep.trial import TrialRecord


class Progress:
    """Shows how far a sweep is.

    Args:
        bar: on the console; counts trials.
        criterion: by which trials are compared, None if they are not.
        records: of the trials of earlier attempts. One of them may be the best.
    """

    def __init__(
        self, bar: Bar, criterion: Criterion | None, records: Sequence[TrialRecord] = ()
    ) -> None:
        self.bar = bar
        self.mode = None if criterion is None else CRITERIA[criterion.metric].mode
        self.best: tuple[float, str] | None = None
        self._epochs: dict[str, int] = {}
        self._ended = sum(record.has_ended for record in records)
        if criterion is not None:
            for record in records:
                for rung in record.rungs:
                    self._measured(record.name, rung.figures.get(criterion.metric))
        self._show()

    def begin(self, name: str) -> None:
        """Count a trial as running."""
        self._epochs[name] = 0
        self._show()

    def report(self, name: str, epoch: int, value: float | None) -> None:
        """Show how far a trial is, and whether it is the best."""
        self._epochs[name] = epoch
        self._measured(name, value)
        self._show()

    def end(self, record: TrialRecord) -> None:
        """Count a trial that has ended; one that did not finish is named."""
        self._epochs.pop(record.name, None)
        self._ended += 1
        if record.state == "failed" or (record.state == "stopped" and self.mode is None):
            say(f"  {record.name}: {record.state}, {record.reason}")
        self._show()

    def _measured(self, name: str, value: float | None) -> None:
        if value is not None and self._is_better(value):
            self.best = (value, name)

    def _is_better(self, value: float) -> bool:
        if self.best is None:
            return True
        return value > self.best[0] if self.mode == "max" else value < self.best[0]

    def _show(self) -> None:
        running = "  ".join(f"{name} epoch {epoch}" for name, epoch in self._epochs.items())
        best = ""
        if self.best is not None:
            best = f"  best {self.best[0]:.4g} ({self.best[1]})"
        self.bar.update(self._ended, text=running + best)
