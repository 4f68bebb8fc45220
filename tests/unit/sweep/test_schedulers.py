"""What a scheduler knows after a restart: as much as if there had been none."""

from types import SimpleNamespace

import pytest
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from pipeline.config.sweep import Sweep
from pipeline.sweep.schedulers import RecalledTrial, RungMemory, is_scheduled, scheduler_of
from pipeline.sweep.trainable import CRITERION, EPOCH
from pipeline.sweep.trial import Rung, TrialRecord

CRITERION_SETTINGS = {
    "metric": "linear_top1",
    "held_out": 0.2,
    "every_epochs": 1,
    "max_clips": 100,
}


def settings(scheduler: str, metric: str = "linear_top1") -> Sweep:
    return Sweep.model_validate(
        {
            "seeds": [0],
            "space": {"train.optimiser.lr": {"uniform": [0.1, 1.0]}},
            "search": "random",
            "trials": 9,
            "criterion": CRITERION_SETTINGS | {"metric": metric},
            "scheduler": {"name": scheduler, "grace_epochs": 1, "reduction": 2.0},
        }
    )


def record(name: str, state: str, values: list[float], seed: int = 0) -> TrialRecord:
    rungs = []
    for epoch, value in enumerate(values, 1):
        rungs.append(Rung(epoch=epoch, figures={"linear_top1": value}, time=epoch))
    return TrialRecord(
        name=name,
        group=name,
        seed=seed,
        overrides=[],
        params={},
        hash="",
        state=state,
        rungs=rungs,
    )


def decision(scheduler, name: str, epoch: int, value: float) -> str:
    trial = SimpleNamespace(trial_id=name)
    return scheduler.on_trial_result(None, trial, {EPOCH: epoch, CRITERION: value})


def add(scheduler, name: str) -> None:
    scheduler.on_trial_add(None, SimpleNamespace(trial_id=name))


def test_asha_stops_a_trial_that_is_worse_than_those_before_the_restart():
    sweep = settings("asha")
    scheduler = scheduler_of(sweep)
    ended = [record("a", "finished", [0.8]), record("b", "finished", [0.9])]
    RungMemory(scheduler, sweep).recall_ended(ended)
    add(scheduler, "c")
    assert decision(scheduler, "c", 1, 0.1) == TrialScheduler.STOP
    add(scheduler, "d")
    assert decision(scheduler, "d", 1, 0.95) == TrialScheduler.CONTINUE


def test_without_its_memory_asha_would_go_on_with_it():
    scheduler = scheduler_of(settings("asha"))
    add(scheduler, "c")
    assert decision(scheduler, "c", 1, 0.1) == TrialScheduler.CONTINUE


def test_a_trial_that_goes_on_counts_once_at_each_rung():
    sweep = settings("asha")
    scheduler = scheduler_of(sweep)
    memory = RungMemory(scheduler, sweep)
    # It was measured at epoch 1, and goes on under the id that Tune gives it now.
    memory.recall("now", record("a", "open", [0.5]))
    add(scheduler, "now")
    assert decision(scheduler, "now", 2, 0.2) == TrialScheduler.CONTINUE
    [bracket] = scheduler._brackets
    rungs = {milestone: dict(recorded) for milestone, recorded in bracket._rungs}
    assert rungs[1] == {"now": 0.5}
    assert rungs[2] == {"now": 0.2}


def test_open_trials_are_told_once_they_go_on():
    sweep = settings("asha")
    scheduler = scheduler_of(sweep)
    RungMemory(scheduler, sweep).recall_ended([record("a", "open", [0.5])])
    [bracket] = scheduler._brackets
    assert not any(recorded for _, recorded in bracket._rungs)


def test_the_seeds_of_a_point_are_no_rivals():
    sweep = settings("asha").model_copy(update={"seeds": [0, 1]})
    first, second = record("a", "finished", [0.9]), record("a", "finished", [0.1], seed=1)
    assert is_scheduled(first, sweep) and not is_scheduled(second, sweep)
    scheduler = scheduler_of(sweep)
    memory = RungMemory(scheduler, sweep)
    memory.recall_ended([second])
    memory.recall("now", second)
    [bracket] = scheduler._brackets
    assert not any(recorded for _, recorded in bracket._rungs)


def test_a_small_value_is_good_where_the_criterion_says_so():
    sweep = settings("asha", metric="alignment")
    scheduler = scheduler_of(sweep)
    for name, value in (("a", 0.1), ("b", 0.2)):
        add(scheduler, name)
        decision(scheduler, name, 1, value)
    add(scheduler, "c")
    assert decision(scheduler, "c", 1, 0.9) == TrialScheduler.STOP


def test_the_median_rule_knows_the_trials_before_the_restart():
    sweep = settings("median")
    scheduler = scheduler_of(sweep)
    ended = [record(name, "finished", [0.8, 0.9]) for name in "abc"]
    RungMemory(scheduler, sweep).recall_ended(ended)
    trial = RecalledTrial("d")
    assert scheduler.on_trial_result(None, trial, {EPOCH: 1, CRITERION: 0.1}) == "STOP"


@pytest.mark.parametrize("name", ["asha", "median"])
def test_a_trial_that_ended_without_the_criterion_does_not_count(name):
    """It has collapsed, or diverged."""
    scheduler = scheduler_of(settings(name))
    collapsed = RecalledTrial("collapsed")
    others = [RecalledTrial(other) for other in "abcd"]
    scheduler.on_trial_add(None, collapsed)
    without = {EPOCH: 1}
    assert scheduler.on_trial_result(None, collapsed, without) == TrialScheduler.CONTINUE
    scheduler.on_trial_complete(None, collapsed, without)
    for other in others[:3]:
        scheduler.on_trial_add(None, other)
        scheduler.on_trial_result(None, other, {EPOCH: 1, CRITERION: 0.9})
    scheduler.on_trial_add(None, others[3])
    last = scheduler.on_trial_result(None, others[3], {EPOCH: 1, CRITERION: 0.1})
    assert last == TrialScheduler.STOP


def test_a_table_has_no_scheduler():
    table = Sweep.model_validate({"seeds": [0], "variants": {"full": []}})
    assert type(scheduler_of(table)) is FIFOScheduler
    assert type(scheduler_of(settings("none"))) is FIFOScheduler
