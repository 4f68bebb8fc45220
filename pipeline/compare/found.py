"""Runs that MLflow holds, as runs of a comparison."""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

from pipeline.core import storage
from pipeline.runs import files
from pipeline.runs.metric_names import EPOCH, STEP, TIME, from_mlflow
from pipeline.runs.tracking.search import FoundRun
from pipeline.runs.tracking.tags import OUTPUT, SWEEP_GROUP, SWEEP_REASON, SWEEP_STATE
from pipeline.tables.compared import SECONDS, ComparedRun, is_compared

STATES = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "failed"}
# How busy a machine was says nothing about a run.
SYSTEM_PREFIX = "system/"
NOT_FIGURES = (STEP, TIME, EPOCH)
# The letters of an id that tell runs of the same name apart.
ID_LETTERS = 8
WORDS = {"True": True, "true": True, "False": False, "false": False, "None": None, "null": None}


def compared_runs(found: Iterable[FoundRun], *, uri: str, place: str) -> list[ComparedRun]:
    """Return runs of MLflow as runs of a comparison.

    Args:
        found: by `find_runs`.
        uri: the tracking store that they are in.
        place: the directory of the comparison, from where links lead to their reports.
    """
    found = list(found)
    names = _unique_names(found)
    groups = _groups(found, names)
    runs = []
    for run in found:
        figures = _figures(run)
        if run.seconds is not None:
            figures.setdefault(SECONDS, round(run.seconds, 1))
        runs.append(
            ComparedRun(
                id=run.run_id,
                name=names[run.run_id],
                group=groups[run.run_id],
                seed=_seed(run),
                state=run.tags.get(SWEEP_STATE) or STATES.get(run.status, "open"),
                parameters={key: value_of(text) for key, text in run.params.items()},
                figures=figures,
                curves=run.curves,
                link=_link(run, uri, place),
                notes=run.tags.get(SWEEP_REASON, ""),
            )
        )
    return runs


def value_of(text: str) -> Any:
    """Return the value that the text of a parameter stands for: MLflow keeps texts only.

    Example: `"0.10"` becomes 0.1, `"None"` becomes None; `"late"` and `"[0, 1]"` stay texts.
    """
    if text in WORDS:
        return WORDS[text]
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


def stages_of(run: FoundRun) -> Sequence[str]:
    """Return the stages of a run of ours, as it has them among its parameters."""
    text = run.params.get("stages", "")
    return [word.strip(" '\"") for word in text.strip("[]").split(",")]


def _figures(run: FoundRun) -> dict[str, float]:
    figures = {}
    for name, value in run.metrics.items():
        if name in NOT_FIGURES or name.startswith(SYSTEM_PREFIX):
            continue
        if run.is_ours:
            name = from_mlflow(name)
        figures[name] = value
    return figures


def _seed(run: FoundRun) -> int | None:
    seed = value_of(run.params.get("seed", ""))
    return seed if isinstance(seed, int) and not isinstance(seed, bool) else None


def _unique_names(found: Sequence[FoundRun]) -> dict[str, str]:
    """Return id -> name. Runs of the same name get a part of their id."""
    counts: dict[str, int] = {}
    for run in found:
        counts[run.name] = counts.get(run.name, 0) + 1
    names = {}
    for run in found:
        names[run.run_id] = run.name
        if counts[run.name] > 1:
            names[run.run_id] = f"{run.name} ({run.run_id[:ID_LETTERS]})"
    return names


def _groups(found: Sequence[FoundRun], names: dict[str, str]) -> dict[str, str]:
    """Return id -> group: runs whose compared parameters are the same belong together.

    A group has the name that a sweep gave it, else that of its first run without the seed.
    """
    by_key: dict[str, str] = {}
    taken: set[str] = set()
    groups = {}
    for run in found:
        key = _group_key(run)
        if key not in by_key:
            name = _group_name(run, names[run.run_id])
            if name in taken:
                name = f"{name} ({run.run_id[:ID_LETTERS]})"
            taken.add(name)
            by_key[key] = name
        groups[run.run_id] = by_key[key]
    return groups


def _group_key(run: FoundRun) -> str:
    compared = {key: text for key, text in run.params.items() if is_compared(key)}
    # Nothing is known of such a run. Two of them have no more in common than any others.
    if not compared:
        return run.run_id
    named = [run.parent, run.tags.get(SWEEP_GROUP)]
    text = json.dumps([compared, named, run.experiment_id], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _group_name(run: FoundRun, name: str) -> str:
    if SWEEP_GROUP in run.tags:
        return run.tags[SWEEP_GROUP]
    seed = _seed(run)
    if seed is not None:
        return run.name.removesuffix(f"-{seed}")
    return name


def _link(run: FoundRun, uri: str, place: str) -> str | None:
    """Return where a page about a run lies: on the server, or in its output directory."""
    if uri.startswith(("http://", "https://")):
        page = (
            f"{uri.rstrip('/')}/#/experiments/{quote(run.experiment_id)}/runs/{quote(run.run_id)}"
        )
        if files.REPORT in run.artifacts:
            page += f"/artifacts/{files.REPORT}"
        return page
    output = run.tags.get(OUTPUT, "")
    if not run.is_ours or not output.startswith("/") or storage.is_remote(place):
        return None
    report = storage.join(output, files.REPORT)
    if not os.path.isfile(report):
        return None
    return quote(os.path.relpath(report, place))
