"""Tables of texts from CSV and Parquet files that nobody vouches for.

Every value becomes a text: a clip called 007 is not called 7. A few kilobytes of Parquet can stand
for any number of bytes, so what a file says of itself is looked at before its values are.
"""

import csv
import io
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

PARQUET_MAGIC = b"PAR1"

MAX_ROWS = 10_000_000
MAX_TEXT_BYTES = 256 << 20
# No path is longer.
MAX_TEXT = 4096
# Rows that are looked at together.
BATCH_ROWS = 10_000


def read_table(data: bytes, wanted: Sequence[str]) -> tuple[pa.Table, dict[str, str]]:
    """Read the wanted columns of a table.

    Args:
        data: the content of a CSV (UTF-8, commas, a header) or Parquet file.
        wanted: names of columns. Those that the table does not have are missing in what is
            returned.

    Returns:
        The columns as texts, without blanks around them, empty ones as null. And the rows of the
        wrong length, by what they are called (`row 7`), and why.

    Raises:
        ValueError, OSError, MemoryError, pa.ArrowException, csv.Error: it is no such table.
    """
    if data.startswith(PARQUET_MAGIC):
        return _read_parquet(data, wanted), {}
    return _read_csv(data, wanted)


def column_names(data: bytes) -> list[str]:
    """Return the names of all columns of a table that `read_table` reads, in its order."""
    if data.startswith(PARQUET_MAGIC):
        return list(pq.read_schema(pa.BufferReader(data)).names)
    return _header(data.decode("utf-8-sig"))


def _header(text: str) -> list[str]:
    header = next(csv.reader(io.StringIO(text)), [])
    return [name.strip() for name in header]


def _read_csv(data: bytes, wanted: Sequence[str]) -> tuple[pa.Table, dict[str, str]]:
    text = data.decode("utf-8-sig")  # the whole: a row that is skipped must be text too
    names = _header(text)
    _require_distinct(names, wanted)
    torn: dict[str, str] = {}
    torn_over_lines = False

    def skip(row: pyarrow.csv.InvalidRow) -> str:
        nonlocal torn_over_lines
        torn[f"row {row.number}"] = (
            f"{row.actual_columns} values in its row, the table has {len(names)} columns"
        )
        torn_over_lines = torn_over_lines or "\n" in row.text
        return "skip"

    table = pyarrow.csv.read_csv(
        pa.BufferReader(data),
        # One thread: only then are rows numbered.
        read_options=pyarrow.csv.ReadOptions(use_threads=False, column_names=names, skip_rows=1),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip),
        convert_options=pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
    )
    if torn_over_lines or _has_line_break(table):
        # Rows are lost in such a value.
        raise ValueError("a value goes over several lines: a quotation mark that is not closed?")
    return _to_texts(table.select([name for name in wanted if name in names])), torn


def _has_line_break(table: pa.Table) -> bool:
    for column in table.columns:
        if pc.any(pc.match_substring(column, "\n")).as_py():
            return True
    return False


def _read_parquet(data: bytes, wanted: Sequence[str]) -> pa.Table:
    """Read the wanted columns of a Parquet file.

    Texts are kept once, however often they come, until it is known how long they are together.
    """
    with pq.ParquetFile(pa.BufferReader(data)) as file:
        metadata = file.metadata
        names = file.schema_arrow.names
    _require_distinct(names, wanted)
    columns = [name for name in wanted if name in names]
    texts = _require_plain(metadata, columns)
    # Of the row groups only the sums are asked for: what a damaged file says of their columns makes
    # Arrow end the process.
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    if sum(group.num_rows for group in groups) > MAX_ROWS:
        raise ValueError(f"more than {MAX_ROWS:,} rows")
    _require_size(sum(group.total_byte_size for group in groups))

    with pq.ParquetFile(pa.BufferReader(data), read_dictionary=texts) as file:
        schema = pa.schema([file.schema_arrow.field(name) for name in columns])
        batches = [_to_texts(schema.empty_table())]
        size = 0
        for batch in file.iter_batches(BATCH_ROWS, columns=columns):
            batch.validate(full=True)  # texts are not looked at when they are read
            size += sum(_expanded_bytes(column) for column in batch.columns)
            _require_size(size)
            batches.append(_to_texts(pa.table(batch).select(columns)))
    return pa.concat_tables(batches)


def _require_plain(metadata: pq.FileMetaData, columns: Sequence[str]) -> list[str]:
    """Refuse lists and structures; return which of the columns are texts.

    Nothing but the values says how many of them the rows of a list hold.
    """
    texts = []
    for number in range(metadata.num_columns):
        leaf = metadata.schema.column(number)
        # The leaf of a structure is called `column.field`.
        if not any(f"{leaf.path}.".startswith(f"{name}.") for name in columns):
            continue
        if leaf.max_repetition_level or leaf.path not in columns:
            raise ValueError(
                f"column {leaf.path.split('.')[0]} holds lists or structures: "
                "one text or number a row"
            )
        if leaf.physical_type == "BYTE_ARRAY":
            texts.append(leaf.path)
    return texts


def _require_size(size: int) -> None:
    if size > MAX_TEXT_BYTES:
        raise ValueError(f"stands for more than {MAX_TEXT_BYTES >> 20} MiB")


def _require_distinct(names: Sequence[str], wanted: Sequence[str]) -> None:
    for name in wanted:
        if names.count(name) > 1:
            raise ValueError(f"two columns are called {name}")


def _expanded_bytes(column: pa.Array) -> int:
    """Return how many bytes a column has when what it repeats is written out."""
    if not pa.types.is_dictionary(column.type) or pa.types.is_primitive(column.type.value_type):
        return column.nbytes
    lengths = pc.binary_length(column.dictionary).cast(pa.int64())
    return pc.sum(lengths.take(column.indices)).as_py() or 0


def _to_texts(table: pa.Table) -> pa.Table:
    """Turn any columns into texts. Raises ValueError where one has more than MAX_TEXT bytes."""
    table = pa.table({name: _to_text(table[name]) for name in table.column_names})
    for name in table.column_names:
        longest = pc.max(pc.binary_length(table[name])).as_py() or 0
        if longest > MAX_TEXT:
            raise ValueError(f"a value of column {name} has more than {MAX_TEXT} bytes")
    return table


def _to_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Turn any column into texts without blanks around them, empty ones into null."""
    column = pc.utf8_trim_whitespace(column.cast(pa.string()))
    return pc.if_else(pc.equal(column, ""), None, column)
