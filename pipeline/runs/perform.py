"""Stages one after another, each recorded when it is done."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pipeline.config.schema import Config
from pipeline.core import storage
from pipeline.core.console import say
from pipeline.runs.rundir import CONFIG, RunDir
from pipeline.runs.tracking import Tracker

SUMMARY = "summary.json"
Stages = Mapping[str, Callable[[Config, RunDir, Tracker], dict[str, Any]]]


def perform(
    stages: Stages, todo: Iterable[str], config: Config, run: RunDir, tracker: Tracker
) -> None:
    """Run the stages `todo` in this order; what each returns is recorded in `run`, with its time, and in MLflow."""
    for stage in todo:
        started = time.monotonic()
        say(f"{stage} ...")
        results = stages[stage](config, run, tracker)
        tracker.results(results)
        seconds = time.monotonic() - started
        run.state.setdefault("seconds", {})[stage] = seconds
        run.finish(stage, results)
        say(f"{stage}: done in {seconds:.0f} s")


def summarise(config: Config, run: RunDir, tracker: Tracker) -> dict[str, Any]:
    """Write `summary.json`, the flat results of all finished stages, and log it beside the configuration."""
    summary = run.summary() | {
        "name": config.name,
        "seed": config.seed,
        "mlflow_run_id": run.state["mlflow_run_id"],
    }
    storage.write_json(run.path(SUMMARY), dict(sorted(summary.items())))
    tracker.artifacts([run.path(SUMMARY), run.path(CONFIG)])
    return summary
