"""The trials of a sweep, as runs of a comparison."""

from collections.abc import Iterable

from pipeline.config.identity import flatten
from pipeline.core import storage
from pipeline.core.arithmetic import thinned
from pipeline.runs import files
from pipeline.runs.metric_names import HELD_OUT_PREFIX, LOSS, STEP
from pipeline.runs.metric_rows import is_number, read_rows
from pipeline.runs.resolved import ResolvedRun
from pipeline.sweep.records import Record
from pipeline.sweep.trial import TrialRecord
from pipeline.tables.compared import SECONDS, ComparedRun

# A curve of a trial has at most so many points: a search has hundreds of trials.
MOST_POINTS = 200


def of_trials(sweep: ResolvedRun, records: Iterable[TrialRecord]) -> list[ComparedRun]:
    """Return the trials of a search as runs of a comparison.

    Args:
        sweep: the run of the search.
        records: of its trials.
    """
    shared = flatten(sweep.config.model_dump(mode="json"))
    runs = []
    for record in records:
        figures = {name: value for name, value in record.figures.items() if is_number(value)}
        if record.last_rung is not None:
            for name, value in record.last_rung.figures.items():
                figures[HELD_OUT_PREFIX + name] = value
        runs.append(
            ComparedRun(
                id=record.name,
                name=record.name,
                group=record.group,
                seed=record.seed,
                state=record.state,
                parameters=shared | record.params,
                figures=figures | {SECONDS: round(record.seconds, 1)},
                curves=_curves(storage.join(sweep.directory.uri, record.name)),
                notes=record.reason or "",
            )
        )
    return runs


def of_table(output: str, records: Iterable[Record]) -> list[ComparedRun]:
    """Return the trials of a table as runs of a comparison, published ones included.

    Args:
        output: the directory of the table. Only the trials in it have curves.
        records: of the table.
    """
    runs = []
    for record in records:
        parameters = {}
        for override in record.overrides:
            key, _, value = override.partition("=")
            parameters[key] = value
        figures = {name: value for name, value in record.figures.items() if is_number(value)}
        runs.append(
            ComparedRun(
                id=record.name,
                name=record.name,
                group=record.variant,
                seed=record.seed,
                state="finished",
                parameters=parameters,
                figures=figures | {SECONDS: record.seconds},
                curves=_curves(storage.join(output, record.name)),
            )
        )
    return runs


def _curves(directory: str) -> dict[str, list[tuple[int, float]]]:
    """Return the loss and the figures of rungs over the steps of a trial."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for row in read_rows(storage.join(directory, files.METRICS)):
        for name, value in row.items():
            if name.startswith((LOSS, HELD_OUT_PREFIX)):
                curves.setdefault(name, []).append((row[STEP], value))
    return {name: thinned(points, MOST_POINTS) for name, points in curves.items()}
