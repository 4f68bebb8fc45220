"""The last lines of a run: what happened, and where things are."""

from typing import Any

from pipeline.core import storage
from pipeline.core.console import percent, say, table
from pipeline.runs import files
from pipeline.runs.metric_names import HEADLINES, is_accuracy
from pipeline.runs.resolved import ResolvedRun


def announce(run: ResolvedRun) -> None:
    """Show the headline figures, the summary's location, and how to open MLflow."""
    summary = storage.read_json(run.directory.path(files.SUMMARY))
    rows = []
    for name in HEADLINES:
        if name in summary:
            rows.append([name, _shown(name, summary[name])])
    table(run.config.name, ["", ""], rows)
    say(f"summary: {run.directory.path(files.SUMMARY)}")
    where = run.config.tracking.uri or ""
    if where.startswith("sqlite:"):
        where = f"mlflow ui --backend-store-uri {where}"
    say(f"MLflow:  {where}   (run {summary['mlflow_run_id']})")


def _shown(name: str, value: Any) -> str:
    if is_accuracy(name):
        return percent(value)
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)
