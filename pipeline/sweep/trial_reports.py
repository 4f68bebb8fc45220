"""What the process of a trial reports while it trains: rows of metrics, and rungs."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from models.backbone import Backbone
from models.framework import Framework
from pipeline.core.errors import first_line
from pipeline.pretrain.cadence import Position
from pipeline.pretrain.held_out import HeldOut
from pipeline.pretrain.outcome import collapse_in
from pipeline.runs.metric_names import EPOCH, STEP
from pipeline.runs.metric_rows import Row
from pipeline.runs.resolved import ResolvedRun
from pipeline.sweep.messages import Order, Report


class TrialEndedError(Exception):
    """A trial ends before its last epoch, and the message says why. The sweep goes on."""


class Messenger:
    """Keeps what there is to tell, and tells it.

    Args:
        report: takes a report. It may raise SystemExit, which ends the trial.
        order: what the trial is to do.
        rows: those of earlier attempts.

    Attributes:
        rows: all rows of metrics, each step once.
        epoch: whole epochs that are done.
        collapse: when and why features had collapsed, at the first row where they had.
    """

    def __init__(
        self, report: Callable[[Report], None], order: Order, rows: Sequence[Row] = ()
    ) -> None:
        self.rows: list[Row] = []
        self.epoch = 0
        self.collapse: str | None = None
        self._report = report
        self._stops_collapsed = order.stops_collapsed
        for row in rows:
            self._add(row)
        self._unsent: list[Row] = []

    def row(self, row: Row) -> None:
        """Take a row of metrics.

        After a worker failed, training goes on from a checkpoint and steps come again. Their rows
        replace those that were there.

        Raises:
            TrialEndedError: features have collapsed, and the trial is to end then.
        """
        self._unsent = [other for other in self._unsent if other[STEP] < row[STEP]]
        self._unsent.append(row)
        self._add(row)
        if self._stops_collapsed:
            reason = collapse_in(row)
            if reason is not None:
                raise TrialEndedError(f"collapsed at {reason}")

    def _add(self, row: Row) -> None:
        while self.rows and self.rows[-1][STEP] >= row[STEP]:
            self.rows.pop()
        self.rows.append(row)
        self.epoch = max(self.epoch, row[EPOCH])
        if self.collapse is None:
            self.collapse = collapse_in(row)

    def send(self, **content: Any) -> None:
        """Report the rows since the last report, and what else `Report` holds."""
        rows = self._unsent
        self._unsent = []
        self._report(Report(self.epoch, rows, **content))


class Rungs:
    """When a trial reports, and how it is measured then.

    Args:
        run: of the trial.
        order: what it is to do.
    """

    def __init__(self, run: ResolvedRun, order: Order) -> None:
        self.criterion = order.criterion
        self.measured = order.measured
        self.epochs = run.config.train.epochs
        self._held_out: HeldOut | None = None
        if order.criterion is not None:
            self._held_out = HeldOut.of(run, order.criterion)

    def due(self, position: Position) -> bool:
        """True if a report follows the checkpoint at this position.

        The last checkpoint has none of its own. What is measured there comes with the results of
        the trial, so that a scheduler cannot stop it in between.
        """
        if position.epoch == self.epochs:
            return False
        if self.criterion is None:
            return True
        whole = position.step == 0 and position.epoch > 0
        return whole and position.epoch % self.criterion.every_epochs == 0

    def missed(self, position: Position) -> bool:
        """True if an earlier attempt ended between this checkpoint and its report."""
        is_new = position.epoch not in self.measured
        return self.criterion is not None and self.due(position) and is_new

    def measure(self, backbone: Backbone) -> dict[str, float]:
        """Measure a backbone; without a criterion there is nothing to measure.

        Raises:
            TrialEndedError: training has diverged since the last row of metrics.
        """
        if self._held_out is None:
            return {}
        try:
            figures = self._held_out.measure(backbone)
        except ValueError as error:
            raise TrialEndedError(f"diverged: {first_line(error)}") from None
        for name, value in figures.items():
            if not math.isfinite(value):
                raise TrialEndedError(f"diverged: {name} is not finite")
        return figures


@dataclass(frozen=True)
class Training:
    """The training of a trial, whoever computes it.

    Attributes:
        run: of the trial.
        order: what is to be done.
        framework: with the weights that are measured.
        messenger: tells the driver.
        rungs: says when, and measures.
    """

    run: ResolvedRun
    order: Order
    framework: Framework
    messenger: Messenger
    rungs: Rungs

    def reached(self, position: Position) -> None:
        """Note that there is a checkpoint at this position."""
        self.messenger.epoch = position.epoch

    def report(self) -> None:
        """Measure the framework as it is, and report.

        Raises:
            TrialEndedError: training has diverged.
        """
        self.messenger.send(figures=self.rungs.measure(self.framework.exported))
