"""A comparison as a file for other programs: a row a run, as CSV and as Parquet."""

import csv
import io
import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.shown_text import one_line
from pipeline.tables.compared import ComparedRun, figure_names, is_real
from pipeline.tables.page_data import setting_text

PARAMETER_PREFIX = "params."
FIGURE_PREFIX = "metrics."
# A spreadsheet takes these for the beginning of a formula, unless a number follows the sign.
_FORMULA = re.compile(r"^[=+@-](?![\d.]*([eE][+-]?\d+)?$)")


def to_csv(runs: Sequence[ComparedRun]) -> bytes:
    """Return the runs as CSV.

    A text that a spreadsheet would run as a formula has an apostrophe before it. `to_parquet` keeps
    texts as they are.
    """
    columns = _columns(runs)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(map(_harmless, columns))
    for number in range(len(runs)):
        writer.writerow([_harmless(values[number]) for values in columns.values()])
    return buffer.getvalue().encode()


def to_parquet(runs: Sequence[ComparedRun]) -> bytes:
    """Return the runs as a Parquet file: figures as numbers, parameters as numbers or texts."""
    arrays = {name: pa.array(_of_one_type(values)) for name, values in _columns(runs).items()}
    sink = io.BytesIO()
    pq.write_table(pa.table(arrays), sink)
    return sink.getvalue()


def _columns(runs: Sequence[ComparedRun]) -> dict[str, list[Any]]:
    """Return name -> the values of all runs. What a run lacks is None."""
    columns: dict[str, list[Any]] = {
        "id": [one_line(run.id) for run in runs],
        "name": [one_line(run.name) for run in runs],
        "group": [one_line(run.group) for run in runs],
        "seed": [run.seed for run in runs],
        "state": [one_line(run.state) for run in runs],
        "notes": [one_line(run.notes) for run in runs],
    }
    for name in figure_names(runs):
        values = [run.figures.get(name) for run in runs]
        columns[f"{FIGURE_PREFIX}{one_line(name)}"] = [v if is_real(v) else None for v in values]
    # Of all parameters, also those that only say where a run lies.
    for key in dict.fromkeys(key for run in runs for key in run.parameters):
        settings = [_setting(run, key) for run in runs]
        columns[f"{PARAMETER_PREFIX}{one_line(key)}"] = settings
    return columns


def _setting(run: ComparedRun, key: str) -> Any:
    if key not in run.parameters:
        return None
    value = run.parameters[key]
    if is_real(value):
        return value
    return setting_text(value)


def _of_one_type(values: Sequence[Any]) -> list[Any]:
    """Return values as floats, integers or texts: a column of Parquet has one type."""
    known = [value for value in values if value is not None]
    if all(isinstance(value, int) and abs(value) < 2**63 for value in known):
        return list(values)
    if all(map(is_real, known)):
        return [None if value is None else float(value) for value in values]
    return [None if value is None else str(value) for value in values]


def _harmless(value: Any) -> Any:
    if isinstance(value, str) and _FORMULA.match(value):
        return f"'{value}"
    return value
