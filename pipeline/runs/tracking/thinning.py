"""Choosing the rows of a trial's metrics that go to MLflow.

The pages of MLflow and its database become slow with hundreds of runs of thousands of steps. So of
a trial about a hundred rows are logged. All of them are in the `metrics.jsonl` of the trial.
"""

from collections.abc import Sequence

from pipeline.core.arithmetic import ceil_div
from pipeline.runs.metric_names import HELD_OUT_PREFIX, STEP
from pipeline.runs.metric_rows import Row

# So many rows of a trial are logged, besides those of its rungs and the last one.
MOST_ROWS = 100


class Thinning:
    """Lets the first row after every so many steps pass, and each one that has a rung's figures.

    Args:
        updates: the steps of the whole training; None lets all rows pass.

    Attributes:
        every: of so many steps one row is logged. An example with 3:

            steps of rows    1  2  3  4  5  6  7  8r 9  10       r: a rung
            logged           1     3        6     8r 9  10       10: the last one, by `rest`
    """

    def __init__(self, updates: int | None) -> None:
        self.every = 1
        if updates is not None:
            self.every = max(1, ceil_div(updates, MOST_ROWS))
        # The newest row, and whether it was logged.
        self._last: Row | None = None
        self._last_passed = True

    def take(self, rows: Sequence[Row]) -> list[Row]:
        """Return those of the following rows that are logged."""
        passed = []
        for row in rows:
            is_next = (
                self._last is None or row[STEP] // self.every != self._last[STEP] // self.every
            )
            self._last_passed = is_next or any(name.startswith(HELD_OUT_PREFIX) for name in row)
            self._last = row
            if self._last_passed:
                passed.append(row)
        return passed

    def rest(self, step: int | None = None) -> list[Row]:
        """Return the newest row unless it was logged.

        Args:
            step: the step of a rung, which the row must have; None at the end.
        """
        if self._last is None or self._last_passed:
            return []
        if step is not None and self._last[STEP] != step:
            return []
        self._last_passed = True
        return [self._last]
