"""When trials are stopped early: the schedulers of Ray Tune, and what a restart tells them.

Ray Tune does not keep the rungs of a scheduler over a restart. They stand in the records of the
trials, and are told to the new scheduler in the order in which they were measured.

Population-based training is not among them (`docs/sweeps.md` says why).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ray.tune.schedulers import (
    AsyncHyperBandScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    TrialScheduler,
)

from pipeline.config.sweep import Sweep
from pipeline.runs.metric_names import CRITERIA
from pipeline.sweep.trainable import CRITERION, EPOCH
from pipeline.sweep.trial import TrialRecord

# No trial reaches it: code after the last report of one that does is not run.
NEVER = 10**9


class PatientMedianStoppingRule(MedianStoppingRule):
    """Tune's rule, which takes a trial that ended without the criterion: it has collapsed."""

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Keep the last result of a trial; the rule computes means of all results that it keeps."""
        if CRITERION in result:
            super().on_trial_complete(tune_controller, trial, result)


@dataclass(frozen=True, eq=False)
class RecalledTrial:
    """A trial of an earlier attempt, as far as a scheduler looks at one."""

    trial_id: str


def scheduler_of(sweep: Sweep) -> TrialScheduler:
    """Return the scheduler of a sweep."""
    settings = sweep.scheduler
    if settings is None or sweep.criterion is None or settings.name == "none":
        return FIFOScheduler()
    mode = CRITERIA[sweep.criterion.metric].mode
    if settings.name == "asha":
        return AsyncHyperBandScheduler(
            time_attr=EPOCH,
            metric=CRITERION,
            mode=mode,
            max_t=NEVER,
            grace_period=settings.grace_epochs,
            reduction_factor=settings.reduction,
        )
    return PatientMedianStoppingRule(
        time_attr=EPOCH,
        metric=CRITERION,
        mode=mode,
        grace_period=settings.grace_epochs,
        # Never pause a trial because there are too few others to compare it with.
        min_time_slice=math.inf,  # type: ignore[arg-type]
    )


def is_scheduled(record: TrialRecord, sweep: Sweep) -> bool:
    """True if a scheduler looks at a trial: at one of each point.

    The seeds of a point are no rivals. If the trial with the first one is stopped, the others are
    not begun.
    """
    return record.seed == sweep.seeds[0]


class RungMemory:
    """Tells a new scheduler what trials had measured before the sweep was started again.

    Args:
        scheduler: of this attempt.
        sweep: the settings.
    """

    def __init__(self, scheduler: TrialScheduler, sweep: Sweep) -> None:
        self.scheduler = scheduler
        self.sweep = sweep

    def recall_ended(self, records: Sequence[TrialRecord]) -> None:
        """Tell the scheduler of trials that have ended, rung by rung in the order of time."""
        told = []
        for record in records:
            if not record.has_ended or not is_scheduled(record, self.sweep):
                # One that goes on is told then, with the id that it has then.
                continue
            trial = RecalledTrial(record.name)
            self._add(trial)
            for rung in record.rungs:
                told.append((rung.time, trial, self._result(rung.epoch, rung.figures)))
        for _, trial, result in sorted(told, key=lambda item: item[0]):
            self._tell(trial, result)

    def recall(self, trial_id: str, record: TrialRecord) -> None:
        """Tell the scheduler what a trial that goes on had measured.

        Args:
            trial_id: Tune's id of the trial in this attempt. With it no rung counts twice.
            record: of the trial.
        """
        if not record.rungs or not is_scheduled(record, self.sweep):
            return
        trial = RecalledTrial(trial_id)
        self._add(trial)
        for rung in record.rungs:
            self._tell(trial, self._result(rung.epoch, rung.figures))

    def reason(self, result: dict[str, Any]) -> str:
        """Return why the scheduler stopped a trial whose last result is this."""
        name = self.sweep.scheduler.name if self.sweep.scheduler is not None else "the sweep"
        return f"stopped by {name} at epoch {result.get(EPOCH, 0)}"

    def _add(self, trial: RecalledTrial) -> None:
        # Schedulers look at no more than the id.
        self.scheduler.on_trial_add(None, trial)  # type: ignore[arg-type]

    def _tell(self, trial: RecalledTrial, result: dict[str, Any]) -> None:
        if CRITERION in result:
            self.scheduler.on_trial_result(None, trial, result)  # type: ignore[arg-type]

    def _result(self, epoch: int, figures: dict[str, float]) -> dict[str, Any]:
        criterion = self.sweep.criterion
        if criterion is None or criterion.metric not in figures:
            return {EPOCH: epoch}
        return {EPOCH: epoch, CRITERION: figures[criterion.metric]}
