"""The table of a folder of arrays: one row a clip. Which columns there are: `arrays`."""

import csv
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.errors import UserError, first_line
from pipeline.ingest.decode.table import BATCH_ROWS, column_names, read_table
from pipeline.ingest.source import Member, RejectedRecording

# The column of the labels, unless a configuration names another one.
LABEL = "label"
INTEGERS = ("subject", "camera", "setup", "replication")
COLUMNS = ("clip_id", "path", LABEL, *INTEGERS, "performance", "split")
REQUIRED = ("clip_id", "path")
NAMELESS = "a row without clip_id and path"

# A row of the table: columns to texts, None where it says nothing.
TableRow = dict[str, str | None]


@dataclass(frozen=True)
class ClipTable:
    """A table as read.

    Attributes:
        what: its name for messages.
        rows: texts. `name` and `place` are what a row's member is called and where its array lies
            in the source, and then COLUMNS. Sorted by all of these, so that rows are found by
            bisection.
        torn: rows of the wrong length, by what their member is called, and why.
    """

    what: str
    rows: pa.RecordBatch = field(repr=False)
    torn: dict[str, str]

    @classmethod
    def of(
        cls,
        what: str,
        path: str,
        data: bytes,
        select: Mapping[str, str | int],
        label_column: str = LABEL,
    ) -> "ClipTable":
        """Read a table.

        Args:
            what: its name for messages.
            path: where it lies in its source. The paths in it are relative to that.
            data: its content.
            select: column and value of the rows that are meant; no column, all rows.
            label_column: the column that holds the labels. It must be there if it is not LABEL.

        Raises:
            UserError: it is no table, lacks a column, or has no row that is meant.
        """
        try:
            table, torn = read_table(data, list(dict.fromkeys([*COLUMNS, label_column, *select])))
        except (pa.ArrowException, OSError, ValueError, MemoryError, csv.Error) as error:
            raise UserError(f"{what}: cannot be read as a table ({first_line(error)})") from None
        required = [*REQUIRED, *select]
        if label_column != LABEL:
            required.append(label_column)
        for name in required:
            if name not in table.column_names:
                known = ", ".join(column_names(data))
                raise UserError(f"{what}: has no column {name!r}; its columns: {known[:200]}")
        for column, value in select.items():
            table = _select(what, table, column, value)
        return cls(what, _named_rows(path, table, label_column), torn)

    def members(self) -> Iterator[tuple[str, str]]:
        """Yield name and place of every row."""
        # In batches: as Python texts all rows would take many times the memory.
        for start in range(0, len(self.rows), BATCH_ROWS):
            batch = self.rows.slice(start, BATCH_ROWS)
            yield from zip(batch["name"].to_pylist(), batch["place"].to_pylist(), strict=True)
        for name in self.torn:
            yield name, name

    def row(self, member: Member) -> TableRow:
        """Return the row of a member.

        Raises:
            RejectedRecording: it says too little, or several rows contradict each other.
        """
        if member.name in self.torn and member.path == member.name:
            raise RejectedRecording(self.torn[member.name])
        names = self.rows["name"]
        places = self.rows["place"]

        def key(number: int) -> tuple[str, str]:
            return names[number].as_py(), places[number].as_py()

        wanted = (member.name, member.path)
        numbers = range(len(names))
        start = bisect_left(numbers, wanted, key=key)
        if start == len(names) or key(start) != wanted:
            raise RejectedRecording(f"no longer in {self.what}")
        stop = bisect_right(numbers, wanted, lo=start, key=key)
        # Sorted by all columns: if the first and the last are equal, all are.
        first = self.rows.slice(start, 1).to_pylist()[0]
        last = self.rows.slice(stop - 1, 1).to_pylist()[0]
        for column in REQUIRED:
            if first[column] is None:
                raise RejectedRecording(f"its row has no {column}")
        if first != last:
            raise RejectedRecording(f"{stop - start} rows of the table say different things of it")
        return first


def _select(what: str, table: pa.Table, column: str, value: str | int) -> pa.Table:
    """Keep the rows that have a value in a column. Raises UserError where none has it."""
    wanted = f"^{re.escape(str(value))}$"
    if isinstance(value, int):
        # A column of whole numbers with gaps may have become one of floats.
        wanted = rf"^{value}(\.0*)?$"
    chosen = table.filter(pc.match_substring_regex(table[column], wanted))
    if not len(chosen):
        values = sorted(filter(None, table[column].unique().to_pylist()))
        known = ", ".join(values[:10])[:200]
        raise UserError(
            f"{what}: has no row with {column}={value} (data.reader.select); there are: {known}"
        )
    return chosen


def _named_rows(path: str, table: pa.Table, label_column: str) -> pa.RecordBatch:
    """Return COLUMNS of a table, and what each row's member is called and where it lies, sorted."""
    folder = str(PurePosixPath(path).parent)
    places = table["path"]
    if folder != ".":
        places = pc.binary_join_element_wise(folder, table["path"], "/")
    nameless = pa.scalar(NAMELESS)
    columns = {
        "name": pc.coalesce(table["clip_id"], table["path"], nameless),
        "place": pc.coalesce(places, table["clip_id"], nameless),
    }
    for name in COLUMNS:
        source = name
        if name == LABEL:
            source = label_column
        if source in table.column_names:
            columns[name] = table[source]
        else:
            columns[name] = pa.nulls(len(table), pa.string())
    rows = pa.table(columns).sort_by([(name, "ascending") for name in columns])
    whole = [column.combine_chunks() for column in rows.columns]
    return pa.record_batch(whole, list(columns))
