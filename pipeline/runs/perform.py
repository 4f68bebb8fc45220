"""The loop over the stages of a run, which records each stage when it is finished."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pipeline.config.root import Config
from pipeline.core import storage
from pipeline.core.console import say
from pipeline.runs import files
from pipeline.runs.code_version import code_version
from pipeline.runs.directory import RunDirectory
from pipeline.runs.resolved import ResolvedRun

if TYPE_CHECKING:  # MLflow takes more than a second to import.
    from pipeline.runs.tracking import Tracker

# A stage takes a run and its record in MLflow, and returns flat results: name -> number or text.
StageFunction = Callable[[ResolvedRun, "Tracker"], dict[str, Any]]
Stages = Mapping[str, StageFunction]


def perform(stages: Stages, todo: Iterable[str], run: ResolvedRun, tracker: "Tracker") -> None:
    """Run stages one after another, and record their results in the directory and in MLflow.

    Args:
        stages: the name of a stage -> its function.
        todo: the names of the stages to run, in order.
        run: the run that they belong to.
        tracker: the record of the run in MLflow.
    """
    # Before the stages, which may take hours: meanwhile somebody may change the code.
    code = code_version()
    for stage in todo:
        started = time.monotonic()
        say(f"{stage} ...")
        results = stages[stage](run, tracker)
        tracker.results(results)
        seconds = time.monotonic() - started
        # Last, because this marks the stage as finished: after an interruption before this line
        # the stage runs again.
        run.directory.state.seconds[stage] = seconds
        run.directory.state.code[stage] = code
        run.directory.finish(stage, results)
        say(f"{stage}: done in {seconds:.0f} s")


def summarise(run: ResolvedRun, tracker: "Tracker") -> dict[str, Any]:
    """Write `summary.json`, and copy it and the configuration to MLflow.

    Args:
        run: the run.
        tracker: the record of the run in MLflow.

    Returns:
        The flat results of all finished stages, with the run's name, seed and MLflow run id.
    """
    directory = run.directory
    summary = write_summary(run.config, directory)
    tracker.artifacts([directory.path(files.SUMMARY), directory.path(files.CONFIG)])
    return summary


def write_summary(config: Config, directory: RunDirectory) -> dict[str, Any]:
    """Write `summary.json`, and return what is in it.

    Args:
        config: the configuration of the run.
        directory: its output directory.
    """
    summary = directory.summary() | {
        "name": config.name,
        "seed": config.seed,
        "mlflow_run_id": directory.state.mlflow_run_id,
    }
    storage.write_json(directory.path(files.SUMMARY), dict(sorted(summary.items())))
    return summary
