"""Reading the file of metrics: one row of JSON for every logged step of training."""

import json
from typing import Any

from pipeline.core import storage
from pipeline.core.console import say
from pipeline.runs.metric_names import STEP

# The name of a metric -> its value, with the step and the time.
Row = dict[str, Any]


def read_rows(uri: str) -> list[Row]:
    """The rows of a metrics file in the order of steps; none where there is no file.

    A line is not a whole row where its writer was killed in the middle of it. Reading stops there,
    and where a step does not come after the one before it, and says so.

    Raises:
        UserError: the file cannot be read.
    """
    if not storage.exists(uri):
        return []
    rows: list[Row] = []
    lines = storage.read_bytes(uri).decode(errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        row = _parse(line)
        if row is None:
            _say_where_reading_stops(uri, f"line {number} is not a whole row")
            break
        if rows and row[STEP] <= rows[-1][STEP]:
            _say_where_reading_stops(uri, f"the step of line {number} is not a later one")
            break
        rows.append(row)
    return rows


def _parse(line: str) -> Row | None:
    """The row of a line, or None where the line is not a whole row."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    if not isinstance(row, dict) or not isinstance(row.get(STEP), int):
        return None
    return row


def _say_where_reading_stops(uri: str, reason: str) -> None:
    say(f"  {storage.name(uri)}: {reason}; the file is read up to there")
