"""The trials of a sweep as the MLflow run of the sweep shows them: a file, and links.

MLflow's page of a run lists its children by their names alone. So the description of the sweep has
a table of the best trials with their figures.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from mlflow.entities import Run

from pipeline.core.secrets import redact
from pipeline.pages import markdown
from pipeline.runs.metric_names import HELD_OUT_PREFIX
from pipeline.runs.tracking.tags import SWEEP_PREFIX, SWEEP_STATE

# The file in the artifacts of the sweep.
TRIALS = "trials.json"
# The tag that MLflow shows as the description of a run.
NOTE = "mlflow.note.content"
# A tag has room for some thousand characters.
MOST_LINKS = 15


def trials_file(trials: Sequence[Run]) -> str:
    """Return the content of `trials.json`: what MLflow holds of each trial, and its run id."""
    entries = []
    for run in _by_name(trials):
        entry = {
            "name": run.info.run_name,
            "run_id": run.info.run_id,
            "status": run.info.status,
            "tags": _starting(run.data.tags, SWEEP_PREFIX),
            "metrics": _starting(run.data.metrics, HELD_OUT_PREFIX),
        }
        entries.append(entry)
    return json.dumps(entries, indent=1) + "\n"


def description(trials: Sequence[Run], best: Sequence[str]) -> str:
    """Return the description of a sweep in Markdown: how many trials it has, and links to some.

    Args:
        trials: the MLflow runs of the trials.
        best: the names of trials, the best first; empty if they have no order.
    """
    place = {name: number for number, name in enumerate(best)}
    listed = _by_name(trials)
    listed.sort(key=lambda run: place.get(run.info.run_name, len(place)))
    lines = [f"{len(trials)} trials; {TRIALS} in the artifacts has all of them."]
    if best:
        lines.append("The best first:")
    lines += ["", "| trial | state | held out |", "|---|---|---|"]
    for run in listed[:MOST_LINKS]:
        lines.append(_line(run))
    return redact("\n".join(lines))


def _line(run: Run) -> str:
    """Return a line of the table, with a link that works in MLflow's pages."""
    name = markdown.text(run.info.run_name)
    link = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    state = markdown.text(run.data.tags.get(SWEEP_STATE, run.info.status))
    figures = []
    for figure, value in sorted(_starting(run.data.metrics, HELD_OUT_PREFIX).items()):
        words = f"{figure.removeprefix(HELD_OUT_PREFIX)} {value:.4}"
        figures.append(markdown.text(words))
    return f"| [{name}]({link}) | {state} | {', '.join(figures)} |"


def _by_name(trials: Sequence[Run]) -> list[Run]:
    return sorted(trials, key=lambda run: str(run.info.run_name))


def _starting(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return the entries whose names begin with a prefix. Numbers that JSON lacks become text."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if not name.startswith(prefix):
            continue
        if isinstance(value, float) and not math.isfinite(value):
            found[name] = str(value)
        else:
            found[name] = value
    return found
