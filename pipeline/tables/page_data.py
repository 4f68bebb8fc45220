"""What the page of a comparison holds: plain values, of which its scripts make table and charts."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from pipeline.core.arithmetic import thinned
from pipeline.core.shown_text import one_line
from pipeline.runs.metric_names import GFLOPS, LOSS, is_accuracy
from pipeline.tables.compared import (
    SECONDS,
    ComparedRun,
    better,
    by_group,
    chosen_figure,
    differing,
    figure_names,
    is_cost,
    is_real,
    label,
    parameter_keys,
)
from pipeline.tables.importance import LIMITS, METHOD, importance

# How many columns of a kind are shown until the reader chooses others.
SHOWN_FIGURES = 3
SHOWN_PARAMETERS = 12
# Importance is worked out for so many figures.
IMPORTANT_FIGURES = 4
# More points than a screen has room for tell nothing more.
MOST_POINTS = 200
# The parameters of some hundred runs are short; a longer text is cut.
LONGEST_TEXT = 300

Values = dict[str, Any]


def page_data(
    runs: Sequence[ComparedRun], figure: str | None = None, reference: str | None = None
) -> Values:
    """Return what the page of a comparison holds.

    Args:
        runs: at least one.
        figure: that is chosen at first; None for the one that matters most.
        reference: the group that the others are compared with at first; None for none.

    Returns:
        Plain values, fit for JSON. All texts are without secrets and control characters.
    """
    runs = [_with_shown_keys(run) for run in runs]
    figure = chosen_figure(runs, figure)
    differ = differing(runs)
    measures = _measures(runs, figure)
    parameters = _parameters(runs, differ)
    columns = measures + parameters
    metrics = _metric_names(runs)
    steps: dict[tuple[int, ...], int] = {}
    curves = {name: _curves(runs, name, steps) for name in metrics}
    important = _importance(runs, figure)
    return {
        "figure": figure,
        "metric": _first_metric(metrics, figure),
        "over": _first_over(runs, columns, important.get(figure or "")),
        "groups": len(by_group(runs)),
        "reference": None if reference is None else one_line(reference),
        "columns": columns,
        "runs": [_run(run, measures, parameters) for run in runs],
        "metrics": [{"key": name, "label": label(name)} for name in metrics],
        "percentCurves": [name for name in metrics if is_accuracy(name)],
        "steps": [list(taken) for taken in steps],
        "curves": curves,
        "importance": important,
        "method": METHOD,
        "limits": LIMITS,
        "shared": _shared(runs, differ),
    }


def _with_shown_keys(run: ComparedRun) -> ComparedRun:
    """Return a run whose keys are fit to be shown: others may have chosen them, too."""
    return replace(
        run,
        parameters={_shown(key): value for key, value in run.parameters.items()},
        figures={_shown(name): value for name, value in run.figures.items()},
        curves={_shown(name): points for name, points in run.curves.items()},
    )


@lru_cache(maxsize=10_000)
def _shown(text: str) -> str:
    return one_line(text)


def to_script(values: Values) -> str:
    r"""Return values as JSON that can stand in a script element.

    `<` and `>` are escaped, so that no text can end the element or begin a comment in it.

    Example: `to_script({"a": "</script>"})` returns `{"a": "\u003c/script\u003e"}`.
    """
    text = json.dumps(values, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _measures(runs: Sequence[ComparedRun], figure: str | None) -> list[Values]:
    """Return the columns of figures and costs."""
    names = figure_names(runs)
    first = [name for name in names if not is_cost(name)][:SHOWN_FIGURES]
    shown = {*first, figure, GFLOPS, SECONDS}
    columns = []
    for name in names:
        columns.append(
            {
                "key": name,
                "label": label(name),
                "kind": "cost" if is_cost(name) else "figure",
                "percent": is_accuracy(name),
                "better": better(name),
                "differs": False,
                "shown": name in shown,
            }
        )
    return columns


def _parameters(runs: Sequence[ComparedRun], differ: Sequence[str]) -> list[Values]:
    """Return the columns of parameters; those that differ come first."""
    keys = parameter_keys(runs)
    # Those that all runs share have their whole names, so that the others have shorter ones.
    labels = {key: key for key in keys} | short_names(differ)
    columns = []
    for key in [*differ, *(key for key in keys if key not in set(differ))]:
        columns.append(
            {
                "key": key,
                "label": labels[key],
                "kind": "parameter",
                "percent": False,
                "better": "max",
                "differs": key in differ,
                "shown": key in differ[:SHOWN_PARAMETERS],
            }
        )
    return columns


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """Return for each key its shortest ending that no other key has.

    Example: `train.optimiser.lr`, `objective.view.weight` and `objective.late.weight` become
    `lr`, `view.weight` and `late.weight`.
    """
    counts: dict[str, int] = {}
    keys = list(keys)
    for key in keys:
        for ending in _endings(key):
            counts[ending] = counts.get(ending, 0) + 1
    names = {}
    for key in keys:
        names[key] = next((ending for ending in _endings(key) if counts[ending] == 1), key)
    return names


def _endings(key: str) -> list[str]:
    parts = key.split(".")
    return [".".join(parts[number:]) for number in range(len(parts) - 1, -1, -1)]


def _run(run: ComparedRun, measures: Sequence[Values], parameters: Sequence[Values]) -> Values:
    cells: list[Any] = []
    for column in measures:
        value = run.figures.get(column["key"])
        cells.append(_number(value) if is_real(value) else None)
    for column in parameters:
        cells.append(_setting(run.parameters, column["key"]))
    return {
        "name": one_line(run.name),
        "group": one_line(run.group),
        "seed": run.seed,
        "state": one_line(run.state),
        "link": safe_link(run.link),
        "notes": _cut(one_line(run.notes)),
        "cells": cells,
    }


def _setting(parameters: Mapping[str, Any], key: str) -> int | float | str | None:
    """Return a parameter as a cell: a number, or a text. None is for a run that lacks it."""
    if key not in parameters:
        return None
    value = parameters[key]
    if is_real(value):
        return _number(value)
    return _cut(setting_text(value))


def setting_text(value: Any) -> str:
    """Return the value of a parameter as people write it on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple | dict):
        return one_line(json.dumps(value, default=str))
    return one_line(str(value))


def _cut(text: str) -> str:
    if len(text) <= LONGEST_TEXT:
        return text
    return f"{text[: LONGEST_TEXT - 1]}\u2026"


def _number(value: Any, digits: int = 7) -> int | float:
    """Return a number with so many digits: more are not shown, and take room."""
    if isinstance(value, int):
        return value
    return float(f"{value:.{digits}g}")


def safe_link(link: str | None) -> str | None:
    """Return a link that a page may offer, None for one that would do something.

    Example: `javascript:alert(1)` is left out; `full-0/report.html` and `https://...` are kept.
    """
    if not link:
        return None
    shown = one_line(link)
    scheme, colon, _ = shown.partition(":")
    if colon and "/" not in scheme and scheme.lower() not in ("http", "https", "file"):
        return None
    return shown


def _metric_names(runs: Sequence[ComparedRun]) -> list[str]:
    names: set[str] = set()
    for run in runs:
        names.update(name for name, points in run.curves.items() if points)
    first = [name for name in (LOSS,) if name in names]
    return [*first, *sorted(names.difference(first))]


def _first_metric(metrics: Sequence[str], figure: str | None) -> str | None:
    if figure in metrics:
        return figure
    return metrics[0] if metrics else None


def _first_over(runs: Sequence[ComparedRun], columns: Sequence[Values], known: Any) -> str | None:
    """Return what the figure is drawn over at first: a cost that differs, else a parameter."""
    # Runs that were stopped have no costs; that is no difference.
    gflops = {run.figures[GFLOPS] for run in runs if is_real(run.figures.get(GFLOPS))}
    if len(gflops) > 1:
        return GFLOPS
    if known:
        return str(known["bars"][0][0])
    for column in columns:
        if column["differs"]:
            return str(column["key"])
    # Runs that differ in nothing cost the same.
    costs = [str(column["key"]) for column in columns if column["kind"] == "cost"]
    return costs[0] if costs else None


def _curves(
    runs: Sequence[ComparedRun], name: str, steps: dict[tuple[int, ...], int]
) -> dict[str, list[Any]]:
    """Return the curves of a metric: number of the run -> number of its steps, and its values.

    Most runs log at the same steps, so these are kept once, in `steps`.
    """
    curves = {}
    for number, run in enumerate(runs):
        real = [point for point in run.curves.get(name, ()) if is_real(point[1])]
        points = thinned(real, MOST_POINTS)
        if points:
            taken = tuple(int(step) for step, _ in points)
            values = [_number(float(value), 5) for _, value in points]
            curves[str(number)] = [steps.setdefault(taken, len(steps)), values]
    return curves


def _importance(runs: Sequence[ComparedRun], figure: str | None) -> dict[str, Values]:
    """Return what matters for the figures that matter most."""
    names = [name for name in figure_names(runs) if not is_cost(name)][:IMPORTANT_FIGURES]
    if figure is not None and figure not in names:
        names.append(figure)
    found = {}
    for name in names:
        known = importance(runs, name)
        if known is not None:
            found[name] = {
                "bars": known.bars,
                "explained": known.explained,
                "groups": known.groups,
            }
    return found


def _shared(runs: Sequence[ComparedRun], differ: Sequence[str]) -> list[list[str]]:
    """Return the parameters that all runs have in common, as texts."""
    shared = []
    for key in parameter_keys(runs):
        if key not in differ:
            shared.append([key, _cut(setting_text(runs[0].parameters[key]))])
    return shared
