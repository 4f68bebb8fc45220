"""The shards of a clip store: the columns of their rows, and how one Parquet file is written."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import storage
from pipeline.core.errors import UserError, first_line
from pipeline.store.manifest import checksum

# A reading task holds one row group: small enough for memory, large enough to be read at speed.
ROW_GROUP_BYTES = 12 << 20

INTEGERS = ("label", "subject", "camera", "setup", "replication")

# The annotated actions of an untrimmed recording, in frames from 0, `end` not included. Null if the
# row is a single clip.
SEGMENTS = pa.list_(
    pa.struct([("label", pa.int32()), ("start", pa.int32()), ("end", pa.int32())]),
)

FIELDS = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("performance_id", pa.string(), nullable=False),
        # `INTEGERS`; a null is an unknown value.
        pa.field("label", pa.int32()),
        pa.field("subject", pa.int32()),
        pa.field("camera", pa.int32()),
        pa.field("setup", pa.int32()),
        pa.field("replication", pa.int32()),
        pa.field("split", pa.list_(pa.string()), nullable=False),
        pa.field("num_frames", pa.int32(), nullable=False),
        pa.field("num_persons", pa.int32(), nullable=False),
        pa.field("segments", SEGMENTS),
        # C-order float32 [T, M, V, 3], metres.
        pa.field("joints", pa.binary(), nullable=False),
    ]
)
SMALL_FIELDS = [name for name in FIELDS.names if name != "joints"]


def write_shard(
    uri: str, rows: Iterable[Mapping[str, Any]], metadata: Mapping[str, Any]
) -> dict[str, Any]:
    """Write one shard, whole or not at all.

    Args:
        uri: location of the Parquet file.
        rows: one mapping a clip with the keys of `FIELDS`; `joints` is a float32 array
            [T, M, V, 3]. At least one row.
        metadata: what the Parquet schema carries besides the columns (layout, persons, fps, axes,
            preparation, ...).

    Returns:
        The manifest entry: name, rows, frames, bytes, checksum of the file, content (a digest of
        the rows alone, whatever wrote the file) and row_groups (rows in each).
    """
    rows = list(rows)
    # From rows to columns.
    values = {}
    for name in SMALL_FIELDS:
        values[name] = [row[name] for row in rows]
    joints = []
    for row in rows:
        joints.append(np.ascontiguousarray(row["joints"], dtype="<f4").tobytes())

    row_groups = cut_into_row_groups(list(map(len, joints)))
    texts = {key: json.dumps(value) for key, value in metadata.items()}
    table = pa.table({**values, "joints": joints}, schema=FIELDS.with_metadata(texts))
    data = _to_parquet(table, row_groups)
    storage.write_bytes(uri, data)
    return {
        "name": storage.name(uri),
        "rows": len(rows),
        "frames": sum(values["num_frames"]),
        "bytes": data.size,
        "checksum": checksum(memoryview(data)),
        "content": _content_digest(values, joints),
        "row_groups": row_groups,
    }


def _content_digest(values: Mapping[str, list], joints: Sequence[bytes]) -> str:
    """Return a digest of the rows. It does not change with the version of Parquet."""
    digest = hashlib.blake2b(digest_size=32)
    digest.update(json.dumps(values, sort_keys=True).encode())
    for clip in joints:
        digest.update(clip)
    return digest.hexdigest()


def _to_parquet(table: pa.Table, row_groups: Sequence[int]) -> pa.Buffer:
    """Encode a table with these numbers of rows in its row groups."""
    sink = pa.BufferOutputStream()
    # Clips hardly ever have equal coordinates, so a dictionary of them would only cost time.
    with pq.ParquetWriter(
        sink,
        table.schema,
        use_dictionary=SMALL_FIELDS,
        compression="zstd",
        compression_level=1,
    ) as writer:
        start = 0
        for count in row_groups:
            writer.write_table(table.slice(start, count), row_group_size=count)
            start += count
    return sink.getvalue()


def cut_into_row_groups(sizes: Sequence[int]) -> list[int]:
    """Cut the rows of a shard into row groups of about equal bytes.

    Example: clips of 4, 4, 4 and 10 MB are 22 MB, near two row groups of `ROW_GROUP_BYTES` (12 MB).
    A clip belongs to the half of the shard in which its last byte lies, so that the row groups hold
    2 and 2 clips.

    Args:
        sizes: bytes of every row, in order.

    Returns:
        The number of rows in each row group, none of them 0.
    """
    ends = np.cumsum(sizes)
    total = int(ends[-1])
    count = max(1, round(total / ROW_GROUP_BYTES))
    group_of_row = np.minimum((ends - 1) * count // total, count - 1)
    rows_of_group = np.bincount(group_of_row)
    # A clip of several row groups' size leaves some of them without a row.
    return rows_of_group[rows_of_group > 0].tolist()


def read_columns(uri: str, columns: Sequence[str]) -> pa.Table:
    """Read some columns of all rows of a shard.

    Raises:
        UserError: the shard cannot be read.
    """
    filesystem, path = storage.resolve(uri)
    try:
        return pq.read_table(path, filesystem=filesystem, columns=list(columns))
    except (pa.ArrowException, OSError, KeyError) as error:
        raise UserError(
            f"{uri}: shard cannot be read ({first_line(error)}); ingest it again"
        ) from error


def read_joints(uri: str, row_group: int, row: int) -> bytes:
    """Read the coordinates of one clip, by its row in a row group of a shard."""
    filesystem, path = storage.resolve(uri)
    with pq.ParquetFile(path, filesystem=filesystem) as file:
        return file.read_row_group(row_group, columns=["joints"])["joints"][row].as_py()
