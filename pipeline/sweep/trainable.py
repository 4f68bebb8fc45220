"""The process of a trial as Ray Tune sees it: a function that reports.

What a trial is to do is too much for Tune's own configuration, which Tune copies, compares and
writes to disk. So that holds the name of the trial alone, and the order waits in an actor.
"""

from typing import Any

import ray
from ray import tune

from pipeline.core.errors import UserError
from pipeline.sweep.messages import Order, Report
from pipeline.sweep.trial_process import run_trial

# The keys of what Tune is told.
TRIAL = "trial"
EPOCH = "epoch"
CRITERION = "criterion"
REPORT = "report"


class Orders:
    """The actor that holds the newest order of each running trial."""

    def __init__(self) -> None:
        self._orders: dict[str, Order] = {}

    def put(self, order: Order) -> None:
        """Keep an order, in place of an earlier one of the same trial."""
        self._orders[order.config.name] = order

    def get(self, name: str) -> Order:
        """Return the order of a trial."""
        return self._orders[name]

    def drop(self, name: str) -> None:
        """Forget the order of a trial that has ended."""
        self._orders.pop(name, None)


def trainable(config: dict[str, Any], orders: Any) -> None:
    """Run a trial; Ray Tune calls this in a process that trials take turns in.

    Args:
        config: the name of the trial.
        orders: Ray's handle of `Orders`.
    """
    order: Order = ray.get(orders.get.remote(config[TRIAL]))

    def report(message: Report) -> None:
        told: dict[str, Any] = {EPOCH: message.epoch, REPORT: [message]}
        if order.criterion is not None and order.is_scheduled:
            value = message.figures.get(order.criterion.metric)
            if value is not None:
                told[CRITERION] = value
        tune.report(told)

    try:
        run_trial(order, report)
    except UserError as error:
        # Not raised: Tune would take it for a process that died, and try again.
        report(Report(epoch=0, ended=str(error), failed=True))
