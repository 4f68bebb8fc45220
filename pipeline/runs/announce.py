"""The last lines of a run: its main figures, and the paths of its results."""

from typing import Any

from pipeline.core import storage
from pipeline.core.console import percent, say, table
from pipeline.runs import files
from pipeline.runs.metric_names import HEADLINES, is_accuracy
from pipeline.runs.resolved import ResolvedRun


def announce(run: ResolvedRun) -> None:
    """Show the main figures, the path of the summary, and how to open MLflow."""
    summary = storage.read_json(run.directory.path(files.SUMMARY))
    rows = []
    for name in HEADLINES:
        if name in summary:
            rows.append([name, _shown(name, summary[name])])
    table(run.config.name, ["", ""], rows)
    say(f"summary: {run.directory.path(files.SUMMARY)}")
    tracking = run.config.tracking.uri or ""
    # A database has no pages of its own: show the command that serves them.
    if tracking.startswith("sqlite:"):
        tracking = f"mlflow ui --backend-store-uri {tracking}"
    say(f"MLflow:  {tracking}   (run {summary['mlflow_run_id']})")


def _shown(name: str, value: Any) -> str:
    """Return a figure as text: accuracies in percent, numbers with thousands separators."""
    if is_accuracy(name):
        return percent(value)
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)
