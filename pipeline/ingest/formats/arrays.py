"""A folder of plain arrays and a table of them: the way in for recordings that are no published data set.

The table is CSV (UTF-8, commas, a header) or Parquet, one row a clip, and says

    clip_id, path                                the clip's name, and its array as a path relative
    to the table label                                        a number from 0, or the name of a
    class subject, camera, setup, replication          numbers performance
    what recordings of it by other cameras share; the clip_id if not given split
    names of splits that hold it, separated by blanks

of which all but the first two may be absent, or empty where unknown. Other columns are for choosing
rows (`select`). No value goes over several lines, none has more than 4 KiB; a Parquet table stands
for at most 256 MiB and has no lists. An array is a `.npy` file of [T, V, 3] or [M, T, V, 3],
metres, at most 8 persons and no more than frames; a frame of zeros holds nobody.
"""

import csv
import io
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from pipeline.core import storage
from pipeline.core.errors import UserError, first_line
from pipeline.ingest import source
from pipeline.ingest.decode import npy
from pipeline.ingest.recording import Parse, RawRecording, RecordingReader
from pipeline.ingest.source import Listing, Member, RejectedRecording
from pipeline.ingest.tracks import LARGEST, bodies_of

INTEGERS = ("subject", "camera", "setup", "replication")
COLUMNS = ("clip_id", "path", "label", *INTEGERS, "performance", "split")
# A few kilobytes of Parquet can stand for any number of rows.
MAX_ROWS = 10_000_000
MAX_TEXT_BYTES = 256 << 20
# No path is longer.
MAX_TEXT = 4096
BATCH_ROWS = 10_000
# No sensor gives more; with a longer axis in front an array is one of [T, M, V, 3].
MAX_PERSONS = 8
MISSING = frozenset({"", "nan", "NaN", "NA", "N/A", "null", "NULL", "None"})
WHOLE = re.compile(r"(\d{1,10})(\.0*)?", re.ASCII)


@dataclass(frozen=True)
class Arrays(RecordingReader):
    """Arrays and a table.

    Attributes:
        table: the table's file name, or its path in the source: every source has one.
        select: column and value of the rows that are meant; no column, all rows.
        classes: names that labels may be.
    """

    name: ClassVar[str] = "arrays"
    table: str
    select: dict[str, str | int]
    fps: float
    axes: str
    classes: list[str] | None = None

    def listing(self, sources: Sequence[str]) -> Listing:
        """Return a member a row: the clip's name, its array's path in the source, the size, -1 where it is not there.

        Raises:
            UserError: a source without the table, a table that is none, or no row.
        """
        members, tables, ignored = [], [], 0
        for number, uri in enumerate(sources):
            found = source.listing([uri], lambda path: True, "file")
            sizes = {member.path: member.size for member in found.members}
            place = self._locate(uri, sizes)
            tables.append(Member(PurePosixPath(place).name, place, sizes[place], number))
            table = self._read(uri, place)
            for name, place in table.members():
                members.append(Member(name, place, sizes.get(_normal(place), -1), number))
            named = {_normal(member.path) for member in members if member.source == number}
            ignored += found.ignored + len(sizes.keys() - named) - 1
        if not members:
            raise UserError(
                f"{', '.join(sources)}: holds no recordings (its table {self.table} has no rows)"
            )
        return Listing(sorted(members), ignored, tuple(tables))

    @contextmanager
    def opened(self, sources: Sequence[str], joints: int) -> Iterator[Parse]:
        tables = [self._read(uri, self._locate(uri)) for uri in sources]
        with source.opened(sources) as read:

            def parse(member: Member) -> list[RawRecording]:
                row = tables[member.source].row(member)
                who = {name: _number(row[name], name) for name in INTEGERS}
                label = self._label(row["label"])
                if not _is_inside(row["path"]):
                    raise RejectedRecording("path leaves the folder of the table")
                if member.size < 0:
                    raise RejectedRecording("no such file")
                array = npy.parse(
                    read(Member(member.name, _normal(member.path), member.size, member.source))
                )
                return [
                    RawRecording(
                        clip_id=row["clip_id"],
                        performance=_known(row["performance"]) or row["clip_id"],
                        label=label,
                        split=tuple(dict.fromkeys((_known(row["split"]) or "").split())),
                        **who,
                        **bodies_of(_persons(array, joints)),
                    )
                ]

            yield parse

    def _locate(self, uri: str, paths: Sequence[str] | None = None) -> str:
        """Return the table's path in a source; looks at all paths only where they are given or it has to."""
        if paths is None:
            if storage.is_directory(uri) and storage.exists(storage.join(uri, self.table)):
                return self.table
            paths = [
                member.path for member in source.listing([uri], lambda path: True, "file").members
            ]
        if self.table in paths:
            return self.table
        wanted = PurePosixPath(self.table).parts
        found = sorted(
            path for path in paths if PurePosixPath(path).parts[-len(wanted) :] == wanted
        )
        if not found:
            raise UserError(f"{uri}: holds no table {self.table} (data.arrays.table)")
        if len(found) > 1:
            raise UserError(
                f"{uri}: holds {len(found)} tables {self.table} ({', '.join(found[:3])}): "
                "name the one that is meant with its folders (data.arrays.table)"
            )
        return found[0]

    def _read(self, uri: str, path: str) -> "_Table":
        what = f"{storage.name(uri)}: {path}"
        with source.opened([uri]) as read:
            try:
                data = read(Member(PurePosixPath(path).name, path, 0))
            except RejectedRecording as reason:
                raise UserError(f"{what}: {reason}") from None
        return _Table.of(what, path, data, self.select)

    def _label(self, text: str | None) -> int | None:
        named = self.classes.index(text) if self.classes and text in self.classes else None
        if named is None and text is not None and _known(text) and not WHOLE.fullmatch(text):
            known = (
                f"one of the {len(self.classes)} classes"
                if self.classes
                else "a class: data.classes is null"
            )
            raise RejectedRecording(f"label {text[:40]!r} is neither a number from 0 nor {known}")
        number = _number(text, "label") if named is None or WHOLE.fullmatch(text) else named
        if named is not None and number != named:
            raise RejectedRecording(
                f"label {text[:40]!r} is the name of class {named} and the number of another"
            )
        return number


@dataclass(frozen=True)
class _Table:
    """A table as read.

    what: its name for messages. rows: strings only, the columns `name` and `place`, what a row's
    member is called, and COLUMNS; sorted by all. torn: rows of the wrong length, by what their
    member is called, and why.
    """

    what: str
    rows: pa.RecordBatch = field(repr=False)
    torn: dict[str, str]

    @classmethod
    def of(cls, what: str, path: str, data: bytes, select: dict[str, str | int]) -> "_Table":
        """Raises UserError for what is no table, lacks a column or has no row that is meant."""
        try:
            read = _read_parquet if data[:4] == b"PAR1" else _read_csv
            table, torn = read(data, list(dict.fromkeys([*COLUMNS, *select])))
        except (pa.ArrowException, OSError, ValueError, MemoryError, csv.Error) as error:
            raise UserError(f"{what}: cannot be read as a table ({first_line(error)})") from None
        missing = [name for name in ("clip_id", "path", *select) if name not in table.column_names]
        if missing:
            there = ", ".join(table.column_names) or "none that means anything"
            raise UserError(f"{what}: has no column {missing[0]!r}; its columns: {there[:200]}")
        for column, value in select.items():
            # A column of whole numbers with gaps may have become one of floats.
            wanted = rf"^{value}(\.0*)?$" if isinstance(value, int) else f"^{re.escape(value)}$"
            chosen = table.filter(pc.match_substring_regex(table[column], wanted))
            if not len(chosen):
                there = ", ".join(sorted(filter(None, table[column].unique().to_pylist()))[:10])
                raise UserError(
                    f"{what}: has no row with {column}={value} (data.arrays.select); there are: {there[:200]}"
                )
            table = chosen
        base = str(PurePosixPath(path).parent)
        nameless = pa.scalar("a row without clip_id and path")
        place = (
            table["path"] if base == "." else pc.binary_join_element_wise(base, table["path"], "/")
        )
        columns = {
            "name": pc.coalesce(table["clip_id"], table["path"], nameless),
            "place": pc.coalesce(place, table["clip_id"], nameless),
        }
        for name in COLUMNS:
            columns[name] = (
                table[name] if name in table.column_names else pa.nulls(len(table), pa.string())
            )
        rows = pa.table(columns).sort_by([(name, "ascending") for name in columns])
        return cls(
            what,
            pa.record_batch([column.combine_chunks() for column in rows.columns], list(columns)),
            torn,
        )

    def members(self) -> Iterator[tuple[str, str]]:
        """Name and place of every row."""
        for start in range(0, len(self.rows), BATCH_ROWS):
            batch = self.rows.slice(start, BATCH_ROWS)
            yield from zip(batch["name"].to_pylist(), batch["place"].to_pylist(), strict=True)
        yield from ((name, name) for name in self.torn)

    def row(self, member: Member) -> dict[str, str | None]:
        """The row of a member. Raises RejectedRecording where it says too little, or rows contradict each other."""
        if member.name in self.torn and member.path == member.name:
            raise RejectedRecording(self.torn[member.name])
        names, places = self.rows["name"], self.rows["place"]
        called, key = (
            (member.name, member.path),
            lambda number: (names[number].as_py(), places[number].as_py()),
        )
        start = bisect_left(range(len(names)), called, key=key)
        if start == len(names) or key(start) != called:
            raise RejectedRecording(f"no longer in {self.what}")
        count = bisect_right(range(len(names)), called, lo=start, key=key) - start
        first, last = (
            self.rows.slice(number, 1).to_pylist()[0] for number in (start, start + count - 1)
        )
        if first["clip_id"] is None or first["path"] is None:
            raise RejectedRecording(
                "its row has no " + ("clip_id" if first["clip_id"] is None else "path")
            )
        if first != last:
            raise RejectedRecording(f"{count} rows of the table say different things of it")
        return first


def _read_csv(data: bytes, wanted: Sequence[str]) -> tuple[pa.Table, dict[str, str]]:
    """The wanted columns as texts, every value: a clip called 007 is not called 7."""
    text = data.decode("utf-8-sig")  # the whole: a row that is skipped must be text too
    names = [name.strip() for name in next(csv.reader(io.StringIO(text)), [])]
    _require_distinct(names, wanted)
    torn: dict[str, str] = {}
    broken: list[bool] = []

    def skip(row: pyarrow.csv.InvalidRow) -> str:
        torn[f"row {row.number}"] = (
            f"{row.actual_columns} values in its row, the table has {len(names)} columns"
        )
        broken.append("\n" in row.text)
        return "skip"

    table = pyarrow.csv.read_csv(
        pa.BufferReader(data),
        # One thread: only then are rows numbered.
        read_options=pyarrow.csv.ReadOptions(use_threads=False, column_names=names, skip_rows=1),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip),
        convert_options=pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
    )
    if any(broken) or any(
        pc.any(pc.match_substring(column, "\n")).as_py() for column in table.columns
    ):
        raise ValueError(
            "a value goes over several lines: a quotation mark that is not closed?"
        )  # rows are lost in it
    return _texts(table.select([name for name in wanted if name in names])), torn


def _read_parquet(data: bytes, wanted: Sequence[str]) -> tuple[pa.Table, dict[str, str]]:
    """The wanted columns as texts.

    Some kilobytes can stand for any number of bytes: what the file says of itself is looked at
    first, and texts are kept once, however often they come, until it is known how long they are
    together. Of the row groups only the sums are asked for: what a damaged file says of their
    columns makes Arrow end the process. So a column of lists is refused, as nothing else says how
    many values its rows hold.
    """
    with pq.ParquetFile(pa.BufferReader(data)) as file:
        metadata, names = file.metadata, file.schema_arrow.names
    _require_distinct(names, wanted)
    columns = [name for name in wanted if name in names]
    leaves = [metadata.schema.column(n) for n in range(metadata.num_columns)]
    leaves = [
        leaf for leaf in leaves if any(f"{leaf.path}.".startswith(f"{name}.") for name in columns)
    ]
    for leaf in leaves:
        if leaf.max_repetition_level or leaf.path not in columns:
            raise ValueError(
                f"column {leaf.path.split('.')[0]} holds lists or structures: one text or number a row"
            )
    groups = [metadata.row_group(g) for g in range(metadata.num_row_groups)]
    if sum(group.num_rows for group in groups) > MAX_ROWS:
        raise ValueError(f"more than {MAX_ROWS:,} rows")
    _require_size(sum(group.total_byte_size for group in groups))
    texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
    with pq.ParquetFile(pa.BufferReader(data), read_dictionary=texts) as file:
        schema = file.schema_arrow
        batches, size = (
            [_texts(pa.schema([schema.field(name) for name in columns]).empty_table())],
            0,
        )
        for batch in file.iter_batches(BATCH_ROWS, columns=columns):
            batch.validate(full=True)  # texts are not looked at when they are read
            size += sum(map(_expanded, batch.columns))
            _require_size(size)
            batches.append(_texts(pa.table(batch).select(columns)))
    return pa.concat_tables(batches), {}


def _require_size(size: int) -> None:
    if size > MAX_TEXT_BYTES:
        raise ValueError(f"stands for more than {MAX_TEXT_BYTES >> 20} MiB")


def _require_distinct(names: Sequence[str], wanted: Sequence[str]) -> None:
    twice = [name for name in wanted if names.count(name) > 1]
    if twice:
        raise ValueError(f"two columns are called {twice[0]}")


def _expanded(column: pa.Array) -> int:
    """How many bytes a column has when what it repeats is written out."""
    if not pa.types.is_dictionary(column.type) or pa.types.is_primitive(column.type.value_type):
        return column.nbytes
    lengths = pc.binary_length(column.dictionary).cast(pa.int64())
    return pc.sum(lengths.take(column.indices)).as_py() or 0


def _texts(table: pa.Table) -> pa.Table:
    """Any columns as strings (see `_text`). Raises ValueError where one has more than MAX_TEXT bytes."""
    table = pa.table({name: _text(table[name]) for name in table.column_names})
    for name in table.column_names:
        if (pc.max(pc.binary_length(table[name])).as_py() or 0) > MAX_TEXT:
            raise ValueError(f"a value of column {name} has more than {MAX_TEXT} bytes")
    return table


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Any column as strings without blanks around them, empty ones as null."""
    column = pc.utf8_trim_whitespace(column.cast(pa.string()))
    return pc.if_else(pc.equal(column, ""), None, column)


def _known(text: str | None) -> str | None:
    return None if text in MISSING else text


def _number(text: str | None, column: str) -> int | None:
    """The number that a cell says, None where it is unknown. Raises RejectedRecording for anything but 0, 1, ..."""
    if _known(text) is None:
        return None
    match = WHOLE.fullmatch(text)
    if not match or int(match[1]) > LARGEST:
        raise RejectedRecording(f"{column} {text[:40]!r} is not a whole number from 0")
    return int(match[1])


def _is_inside(path: str) -> bool:
    pure = PurePosixPath(path)
    return not pure.is_absolute() and ".." not in pure.parts


def _normal(path: str) -> str:
    return str(PurePosixPath(path))


def _persons(array: np.ndarray, joints: int) -> np.ndarray:
    """[T, V, 3] or [M, T, V, 3] as [M, T, V, 3]. Raises RejectedRecording for any other shape."""
    expected = f"expected [frames, {joints}, 3] or [persons, frames, {joints}, 3]"
    shape = str(list(array.shape))[:60]
    if array.ndim not in (3, 4) or array.shape[-2:] != (joints, 3):
        raise RejectedRecording(f"shape {shape}, {expected}")
    persons = array if array.ndim == 4 else array[None]
    if len(persons) > min(MAX_PERSONS, persons.shape[1]) and persons.shape[1]:
        raise RejectedRecording(f"shape {shape} would be {len(persons)} persons, {expected}")
    return persons
