"""Searches to test with: a sweep's run, and records of trials that nobody ran."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.config.compose import Request, load
from pipeline.config.identity import digest
from pipeline.config.places import settle_places
from pipeline.runs.directory import RunDirectory
from pipeline.runs.resolved import ResolvedRun, resolve
from pipeline.sweep.trial import Rung, State, Trial, TrialRecord, trial_name

# Takes the space of sweep=loss_weights away.
NO_SPACE = (
    "sweep.space.objective.decomposition=null",
    "sweep.space.objective.composition=null",
    "sweep.space.objective.view=null",
    "sweep.space.objective.alignment.temperature=null",
    "sweep.space.train.optimiser.lr=null",
)
TWO_KEYS = (
    *NO_SPACE,
    "+sweep.space.views.shear.uniform=[0,1]",
    "+sweep.space.train.optimiser.weight_decay.log_uniform=[1e-6,1e-2]",
)
# Of six points.
GRID = (
    *NO_SPACE,
    "+sweep.space.views.shear.choice=[0.0,0.5,1.0]",
    "+sweep.space.views.mirror.choice=[0.0,0.5]",
    "sweep.search=grid",
    "sweep.trials=null",
)
METRIC = "linear_top1"
# What `choosing_overrides` may return.
CHOOSING = [
    "+data.protocols.held_out={train:[{camera:[2],subject:[1]}],test:[{camera:[2],subject:[2]}]}",
    "data.protocol=held_out",
]


def search_run(output: Path, *words: str) -> ResolvedRun:
    """The run of `sweep=loss_weights` with further words."""
    overrides = ("sweep=loss_weights", f"output={output}", *words)
    config = settle_places(load(overrides), in_job=False)
    return resolve(config, Request(overrides), RunDirectory(config.output))


def compose_quickly(sweep, group, seed, overrides, *, params, stages):
    """Stands in for `compose_trial`: the settings are those of the sweep, and only names differ."""
    update = {"name": trial_name(group, seed), "seed": seed, "sweep": None}
    config = sweep.config.model_copy(update=update)
    return Trial(group, config, sweep.request, list(overrides), params)


def record_of(
    trial: Trial, state: State = "open", values: Sequence[float] = (), **others: Any
) -> TrialRecord:
    """The record of a trial that was measured after epochs 4, 8 and so on."""
    rungs = []
    for number, value in enumerate(values, start=1):
        rungs.append(Rung(epoch=4 * number, figures={METRIC: value}, time=0.0))
    record = TrialRecord(
        name=trial.name,
        group=trial.group,
        seed=trial.config.seed,
        overrides=trial.overrides,
        params=trial.params,
        hash=digest(trial.config),
        state=state,
        rungs=rungs,
    )
    return record.model_copy(update=others)


def goodness(trial: Trial) -> float:
    """A figure that is best at shear 0.3, and better with a small weight decay."""
    shear = trial.params.get("views.shear", 0.0)
    decay = trial.params.get("train.optimiser.weight_decay", 0.0)
    return 1 - (shear - 0.3) ** 2 - 10 * decay
