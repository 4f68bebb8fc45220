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

    A line is not a whole row where its writer was killed in the middle of it, or where the disk
    lost a part of the file: such lines are left out. Reading stops where a step does not come after
    the one before it. Both are said.

    Raises:
        UserError: the file cannot be read.
    """
    if not storage.exists(uri):
        return []
    rows: list[Row] = []
    torn: list[int] = []
    lines = storage.read_bytes(uri).decode(errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        row = _parse(line)
        if row is None:
            torn.append(number)
            continue
        if rows and row[STEP] <= rows[-1][STEP]:
            say(
                f"  {storage.name(uri)}: the step of line {number} is not a later one; "
                "the file is read up to there"
            )
            break
        rows.append(row)
    if torn:
        _say_what_is_left_out(uri, torn)
    return rows


def _parse(line: str) -> Row | None:
    """The row of a line, or None where the line is not a whole row."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict):
        return None
    if not isinstance(row.get(STEP), int) or not all(map(is_number, row.values())):
        return None
    return row


def is_number(value: Any) -> bool:
    """True for an integer or a float, and not for a truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _say_what_is_left_out(uri: str, torn: list[int]) -> None:
    more = ""
    if len(torn) > 1:
        more = f" (and {len(torn) - 1} more)"
    say(f"  {storage.name(uri)}: line {torn[0]} is not a whole row{more}, and is left out")
