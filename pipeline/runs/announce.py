"""The last lines of a run: its main figures, and the paths of its results."""

from typing import Any

from pipeline.config.places import database
from pipeline.config.root import Config
from pipeline.core import storage
from pipeline.core.console import percent, say, table
from pipeline.runs import files
from pipeline.runs.directory import RunDirectory
from pipeline.runs.metric_names import HEADLINES, is_accuracy
from pipeline.runs.tracking_uri import located, page_command


def announce(config: Config, directory: RunDirectory) -> None:
    """Show the main figures, the path of the summary, and how to open MLflow."""
    summary = storage.read_json(directory.path(files.SUMMARY))
    rows = []
    for name in HEADLINES:
        if name in summary:
            rows.append([name, _shown(name, summary[name])])
    table(config.name, ["", ""], rows)
    say(f"summary: {directory.path(files.SUMMARY)}")
    # A finished run does not look for its MLflow run: `tracking.uri` may name another store now.
    tracking = config.tracking.uri or ""
    if directory.state.mlflow_uri is not None:
        tracking = located(directory.state.mlflow_uri, directory.uri)
    path = database(tracking)
    if path is not None and not storage.exists(path):
        say(f"MLflow:  {path} is gone; the next stage that runs makes it anew")
        return
    say(f"MLflow:  {page_command(tracking)}   (run {summary['mlflow_run_id']})")


def _shown(name: str, value: Any) -> str:
    """Return a figure as text: accuracies in percent, numbers with thousands separators."""
    if is_accuracy(name):
        return percent(value)
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)
