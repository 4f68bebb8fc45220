"""Runs side by side: what they have in common, in what they differ, and which belong together."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.runs.metric_names import (
    ACCURACIES,
    CRITERIA,
    GFLOPS,
    HEADLINES,
    HELD_OUT_PREFIX,
    LOSS,
    PARAMETERS,
    PRETRAINING_GFLOPS,
    PRETRAINING_PARAMETERS,
    RANDOM_PREFIX,
    WATCH_PREFIX,
)

# These say where a run lies, what it is called and which seed it has, and nothing about what is
# compared. Runs that differ in nothing else belong together.
NOT_COMPARED = (
    "name",
    "seed",
    "output",
    "fresh",
    "stages",
    "data.raw",
    "data.store",
    "data.names",
    "tracking",
    "sweep",
    "compare",
)
# How long a run took.
SECONDS = "seconds"
COST_LABELS = {
    PARAMETERS: "parameters",
    GFLOPS: "GFLOPs",
    PRETRAINING_PARAMETERS: "parameters of pretraining",
    PRETRAINING_GFLOPS: "GFLOPs of pretraining",
    SECONDS: "seconds",
}
# What accuracies of the encoder before training, and of held-out people, are called.
PREFIXES = {
    RANDOM_PREFIX: "at the start: ",
    HELD_OUT_PREFIX: "held out: ",
    WATCH_PREFIX: "watched: ",
}


@dataclass(frozen=True)
class ComparedRun:
    """One run of a comparison.

    Attributes:
        id: no two runs of a comparison have the same one.
        name: for people.
        group: runs of a group differ in their seed alone.
        seed: of the run, None where it is not known.
        state: open, finished, stopped or failed.
        parameters: flat key -> value.
        figures: name -> number. Other values are not compared.
        curves: the name of a metric -> (step, value), in the order of steps.
        link: where a page about the run lies, seen from the comparison; None if there is none.
        notes: further words about the run, such as why it was stopped; a filter finds them.
    """

    id: str
    name: str
    group: str
    seed: int | None
    state: str
    parameters: Mapping[str, Any]
    figures: Mapping[str, Any] = field(default_factory=dict)
    curves: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)
    link: str | None = None
    notes: str = ""


def is_real(value: Any) -> bool:
    """True for a finite number, and not for a truth value."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def is_compared(key: str) -> bool:
    """True if a parameter says something about what is compared."""
    for section in NOT_COMPARED:
        if key == section or key.startswith(f"{section}."):
            return False
    return True


def parameter_keys(runs: Iterable[ComparedRun]) -> list[str]:
    """Return the keys of all parameters that are compared, in the order of the first run."""
    keys: dict[str, None] = {}
    for run in runs:
        for key in run.parameters:
            if is_compared(key):
                keys[key] = None
    return list(keys)


def differing(runs: Sequence[ComparedRun]) -> list[str]:
    """Return the keys of the parameters in which runs differ. One that a run lacks differs."""
    keys = []
    for key in parameter_keys(runs):
        values = {_repr(run.parameters, key) for run in runs}
        if len(values) > 1:
            keys.append(key)
    return keys


def _repr(parameters: Mapping[str, Any], key: str) -> str:
    # Not the same as the value None.
    if key not in parameters:
        return ""
    return repr(parameters[key])


def figure_names(runs: Iterable[ComparedRun]) -> list[str]:
    """Return the names of all numbers that runs have, those that matter most first."""
    names: set[str] = set()
    for run in runs:
        for name, value in run.figures.items():
            if is_real(value):
                names.add(name)
    held_out = [f"{HELD_OUT_PREFIX}{name}" for name in CRITERIA]
    first = [*held_out, *ACCURACIES, *CRITERIA, *HEADLINES, SECONDS]
    ordered = [name for name in dict.fromkeys(first) if name in names]
    return [*ordered, *sorted(names.difference(ordered))]


def label(name: str) -> str:
    """Return what people call a figure or a metric over time.

    Example: `held_out/linear_top1` becomes `held out: linear`.
    """
    for prefix, words in PREFIXES.items():
        if name.startswith(prefix):
            return words + label(name.removeprefix(prefix))
    if name in ACCURACIES:
        return ACCURACIES[name]
    if name in CRITERIA:
        return CRITERIA[name].label
    if name in COST_LABELS:
        return COST_LABELS[name]
    return name


def better(name: str) -> str:
    """Return `min` where a small value of a figure is good, else `max`."""
    bare = name.removeprefix(HELD_OUT_PREFIX)
    if bare in CRITERIA:
        return CRITERIA[bare].mode
    if is_cost(name) or LOSS in bare:
        return "min"
    return "max"


def is_cost(name: str) -> bool:
    """True if a figure says what a run or its encoder costs."""
    return name in COST_LABELS


def chosen_figure(runs: Iterable[ComparedRun], wanted: str | None = None) -> str | None:
    """Return the figure by which runs are compared first.

    Args:
        runs: of the comparison.
        wanted: a figure to take if any run has it.

    Returns:
        Its name; None if the runs have no figure that says how good they are.
    """
    names = [name for name in figure_names(runs) if not is_cost(name)]
    if wanted in names:
        return wanted
    return names[0] if names else None


def by_group(runs: Iterable[ComparedRun]) -> dict[str, list[ComparedRun]]:
    """Return the runs of each group, in the order in which groups come first."""
    groups: dict[str, list[ComparedRun]] = {}
    for run in runs:
        groups.setdefault(run.group, []).append(run)
    return groups
