"""The clip store: Parquet shards of one row a clip, and a manifest that makes them a store.

`manifest.json` is written last and atomically; a directory without it is not a store, on a disk and on object storage
alike. Row number `id` of a clip = its position over the shards in manifest order; everything downstream knows clips by
it. Coordinates are one `binary` value a clip (C-order float32 [T, M, V, 3], metres, as recorded after body selection),
so that an Arrow column is already a ragged batch: its data are all frames of all clips end to end.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.store.conversion import Conversion
from pipeline.store.manifest import (  # noqa: F401 - until all callers import from there
    FLAWS,
    FORMAT,
    FORMAT_VERSION,
    MANIFEST,
    REJECTS,
    UNKNOWN,
    DamagedStore,
    checksum,
    fingerprint,
    layout_record,
    read_manifest,
    write_manifest,
)
from pipeline.store.protocols import COLUMNS, Side, mask

ROW_GROUP_BYTES = 12 << 20

INTEGERS = ("label", "subject", "camera", "setup", "replication")
FIELDS = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("performance_id", pa.string(), nullable=False),
        *(pa.field(name, pa.int32()) for name in INTEGERS),
        pa.field("split", pa.list_(pa.string()), nullable=False),
        pa.field("num_frames", pa.int32(), nullable=False),
        pa.field("num_persons", pa.int32(), nullable=False),
        # Of an untrimmed recording: what happens when, frames from 0, `end` not included. Null where the row is a clip.
        pa.field(
            "segments",
            pa.list_(pa.struct([(name, pa.int32()) for name in ("label", "start", "end")])),
        ),
        pa.field("joints", pa.binary(), nullable=False),
    ]
)


@dataclass(frozen=True)
class StoreIndex:
    """The small columns of all rows in file order, one array [N] each; row number = id; -1 where a value is unknown.

    split: object array of tuples, the names of the splits that hold each clip.
    """

    clip_id: np.ndarray
    performance_id: np.ndarray
    label: np.ndarray
    subject: np.ndarray
    camera: np.ndarray
    setup: np.ndarray
    replication: np.ndarray
    split: np.ndarray
    num_frames: np.ndarray
    num_persons: np.ndarray

    def __len__(self) -> int:
        return len(self.clip_id)

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """The columns that protocols filter on."""
        return {name: getattr(self, name) for name in COLUMNS}


@dataclass(frozen=True)
class ClipStore:
    """An opened, validated clip store; picklable, holds no file open.

    conversion, seen: how its clips are read where they are wanted in another layout, and the record of that layout;
        names, joints, persons and coordinates are then those that are wanted.
    """

    uri: str
    manifest: dict[str, Any]
    conversion: Conversion | None = None
    seen: dict[str, Any] | None = None

    @classmethod
    def open(cls, uri: str, layout: Any = None) -> "ClipStore":
        """Open a store and check that it is whole: manifest, version, every shard there with its size.

        Args:
            uri: directory of the store.
            layout: a `SkeletonLayout` that the store must have, or None for any.

        Raises:
            UserError: no store, a half-written or damaged one, another version or layout; the message names it.
        """
        uri = storage.absolute(uri)
        manifest = read_manifest(uri)
        present = {entry.base_name: entry.size for entry in storage.files(uri)}
        for shard in manifest["shards"]:
            if shard["name"] not in present:
                raise DamagedStore(
                    f"{uri}: clip store is incomplete: {shard['name']} is missing; ingest it again"
                )
            if present[shard["name"]] != shard["bytes"]:
                raise DamagedStore(
                    f"{uri}: clip store is damaged: {shard['name']} has {present[shard['name']]} bytes, "
                    f"its manifest says {shard['bytes']}; ingest it again"
                )
        store = cls(uri, manifest)
        if layout is not None:
            store.require_layout(layout)
        return store

    def read_as(self, layout: Any, persons: int, mapping: Any = None) -> "ClipStore":
        """The same store, read as clips of `layout` with so many persons.

        Raises:
            UserError: its layout is another, and not the one that `mapping` (see `Conversion.of`) begins with.
            ConfigError: `mapping` does not fit the two layouts.
        """
        conversion = Conversion.of(
            self.manifest["layout"], self.manifest["persons"], layout, persons, mapping
        )
        if conversion is None or conversion.same_layout:
            self.require_layout(layout)
        return replace(self, conversion=conversion, seen=layout_record(layout))

    def require_layout(self, layout: Any) -> None:
        """Raise UserError unless the store's joints are those of `layout`, in the same order and tree."""
        wanted = layout_record(layout)
        for key, value in wanted.items():
            if self.layout.get(key) != value:
                raise UserError(
                    f"{self.uri}: clip store has skeleton layout {self.layout_name!r} ({self.joints} joints), "
                    f"but {wanted['name']!r} ({len(wanted['joints'])} joints) is asked for (they differ in {key})"
                )

    def verify(self) -> None:
        """Read every shard and compare its checksum with the manifest's.

        Raises:
            UserError: a shard differs.
        """
        for shard, path in zip(self.manifest["shards"], self.paths, strict=True):
            if checksum(storage.read_bytes(path)) != shard["checksum"]:
                raise DamagedStore(
                    f"{path}: clip store is damaged: this shard fails its checksum; ingest it again"
                )

    @property
    def fingerprint(self) -> str:
        """Identity of the content: equal for equal input and settings, whatever the parallelism that wrote it."""
        return self.manifest["fingerprint"]

    @property
    def layout(self) -> dict[str, Any]:
        """The record of the skeleton layout: see `layout_record`."""
        return self.seen or self.manifest["layout"]

    @property
    def layout_name(self) -> str:
        """Name of the skeleton layout."""
        return self.layout["name"]

    @property
    def joints(self) -> int:
        """V, joints of a person."""
        return len(self.layout["joints"])

    @property
    def persons(self) -> int:
        """M, persons of a clip; absent ones are zeros."""
        if self.conversion:
            return self.conversion.wanted_persons
        return self.manifest["persons"]

    @property
    def clips(self) -> int:
        """Number of rows."""
        return self.manifest["clips"]

    @property
    def bytes_per_frame(self) -> int:
        """Bytes that one frame takes in the `joints` column."""
        return self.persons * self.joints * 3 * 4

    @cached_property
    def paths(self) -> list[str]:
        """Locations of the shards, in manifest order."""
        return [storage.join(self.uri, shard["name"]) for shard in self.manifest["shards"]]

    def index(self) -> StoreIndex:
        """Read the small columns of all rows (no coordinates)."""
        names = [name for name in StoreIndex.__dataclass_fields__]
        table = pa.concat_tables(self._read(path, columns=names) for path in self.paths)
        return StoreIndex(**{name: _to_numpy(table[name]) for name in names})

    def select(self, side: Side, index: StoreIndex | None = None) -> np.ndarray:
        """Return the ids (int64, ascending) of the clips on one side of a protocol.

        Raises:
            UserError: the side holds no clip.
        """
        ids = np.flatnonzero(mask((index or self.index()).columns, side))
        if not len(ids):
            raise UserError(
                f"{self.uri}: protocol {side.protocol!r} has no clip on its side {side.name!r}"
            )
        return ids

    def clip(self, row: int) -> np.ndarray:
        """Return one clip's coordinates, float32 [T, M, V, 3], by its id.

        Reads a whole row group: for looking at a few clips, not for training.
        """
        for shard, path in zip(self.manifest["shards"], self.paths, strict=True):
            if row >= shard["rows"]:
                row -= shard["rows"]
                continue
            filesystem, inner = storage.resolve(path)
            for group, rows in enumerate(shard["row_groups"]):
                if row < rows:
                    with pq.ParquetFile(inner, filesystem=filesystem) as file:
                        value = file.read_row_group(group, columns=["joints"])["joints"][
                            row
                        ].as_py()
                    joints = len(self.manifest["layout"]["joints"])
                    frames = np.frombuffer(value, np.float32).reshape(
                        -1, self.manifest["persons"], joints, 3
                    )
                    return (
                        self.conversion.frames(frames, [len(frames)]) if self.conversion else frames
                    )
                row -= rows
        raise IndexError(f"{self.uri}: no such clip")

    def _read(self, path: str, columns: Sequence[str]) -> pa.Table:
        filesystem, inner = storage.resolve(path)
        try:
            return pq.read_table(inner, filesystem=filesystem, columns=list(columns))
        except (pa.ArrowInvalid, OSError) as error:
            raise UserError(
                f"{path}: shard cannot be read ({str(error).splitlines()[0]}); ingest it again"
            ) from error


def _to_numpy(column: pa.ChunkedArray) -> np.ndarray:
    if pa.types.is_string(column.type):
        return np.array(column.to_pylist())
    if pa.types.is_list(column.type):
        return np.fromiter((tuple(names) for names in column.to_pylist()), object, len(column))
    return column.fill_null(UNKNOWN).to_numpy().astype(np.int64)


def write_shard(
    uri: str, rows: Iterable[Mapping[str, Any]], metadata: Mapping[str, Any]
) -> dict[str, Any]:
    """Write one shard whole and return its manifest entry.

    Args:
        uri: location of the Parquet file.
        rows: one mapping a clip with the keys of `FIELDS`; `joints` is a float32 array [T, M, V, 3]. At least one row.
        metadata: what the Parquet schema carries besides the columns (layout, persons, fps, axes, preparation, ...).

    Returns:
        name, rows, frames, bytes, checksum of the file, content (digest of the rows alone, whatever wrote the file) and
        row_groups (rows in each).
    """
    rows = list(rows)
    digest = hashlib.blake2b(digest_size=32)
    values = {name: [row[name] for row in rows] for name in FIELDS.names if name != "joints"}
    joints = [np.ascontiguousarray(row["joints"], dtype="<f4").tobytes() for row in rows]
    digest.update(json.dumps(values, sort_keys=True).encode())
    for value in joints:
        digest.update(value)
    schema = FIELDS.with_metadata({key: json.dumps(value) for key, value in metadata.items()})
    table = pa.table({**values, "joints": joints}, schema=schema)
    groups = _row_groups([len(value) for value in joints])
    sink = pa.BufferOutputStream()
    dictionary = [name for name in FIELDS.names if name != "joints"]
    with pq.ParquetWriter(
        sink, schema, use_dictionary=dictionary, compression="zstd", compression_level=1
    ) as writer:
        for start, count in zip(np.cumsum([0, *groups]), groups, strict=False):
            writer.write_table(table.slice(int(start), count), row_group_size=count)
    data = sink.getvalue()
    storage.write_bytes(uri, data)
    return {
        "name": storage.name(uri),
        "rows": len(rows),
        "frames": sum(values["num_frames"]),
        "bytes": data.size,
        "checksum": checksum(memoryview(data)),
        "content": digest.hexdigest(),
        "row_groups": groups,
    }


def _row_groups(sizes: Sequence[int]) -> list[int]:
    """Cut rows into groups of about equal bytes near ROW_GROUP_BYTES; returns the rows in each."""
    ends = np.cumsum(sizes)
    count = max(1, round(int(ends[-1]) / ROW_GROUP_BYTES))
    group = np.minimum((ends - 1) * count // int(ends[-1]), count - 1)
    return [int(n) for n in np.bincount(group) if n]
