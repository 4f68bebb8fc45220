"""The stages of a run, one after another, each recorded when it is done."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pipeline.core import storage
from pipeline.core.console import say
from pipeline.runs import files
from pipeline.runs.resolved import ResolvedRun
from pipeline.runs.tracking import Tracker

# What every stage is: it takes the run and its tracked twin, and returns flat results.
StageFunction = Callable[[ResolvedRun, Tracker], dict[str, Any]]
Stages = Mapping[str, StageFunction]


def perform(stages: Stages, todo: Iterable[str], run: ResolvedRun, tracker: Tracker) -> None:
    """Run stages in this order. What each returns is recorded in the directory and in MLflow.

    Args:
        stages: stage -> its function.
        todo: the stages to run.
        run: what they work on.
        tracker: the tracked run.
    """
    for stage in todo:
        started = time.monotonic()
        say(f"{stage} ...")
        results = stages[stage](run, tracker)
        tracker.results(results)
        seconds = time.monotonic() - started
        run.directory.state.seconds[stage] = seconds
        run.directory.finish(stage, results)
        say(f"{stage}: done in {seconds:.0f} s")


def summarise(run: ResolvedRun, tracker: Tracker) -> dict[str, Any]:
    """Write `summary.json` and log it beside the configuration.

    Returns:
        The flat results of all finished stages, with the run's name, seed and MLflow run id.
    """
    directory = run.directory
    summary = directory.summary() | {
        "name": run.config.name,
        "seed": run.config.seed,
        "mlflow_run_id": directory.state.mlflow_run_id,
    }
    storage.write_json(directory.path(files.SUMMARY), dict(sorted(summary.items())))
    tracker.artifacts([directory.path(files.SUMMARY), directory.path(files.CONFIG)])
    return summary
