"""The index of a clip store: all columns but the coordinates, by which protocols choose rows."""

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa

from pipeline.store.integrity import require_columns
from pipeline.store.manifest import UNKNOWN
from pipeline.store.protocols import COLUMNS
from pipeline.store.shards import read_columns


@dataclass(frozen=True)
class StoreIndex:
    """The columns of all N clips but their coordinates, each an array [N].

    The rows have the order of the files, and the number of a row is the id of its clip. Integer
    columns are int64; a null of the store is -1 (`UNKNOWN`). `split` is an object array of tuples,
    the names of the splits of each clip.
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

    @classmethod
    def read(cls, paths: Iterable[str]) -> "StoreIndex":
        """Read the index from shards, given in the order of their manifest.

        Raises:
            UserError: a shard cannot be read, or lacks a column.
        """
        names = [field.name for field in fields(cls)]
        tables = []
        for path in paths:
            shard = read_columns(path, names)
            require_columns(path, shard.schema, names)
            tables.append(shard)
        table = pa.concat_tables(tables)
        columns = {}
        for name in names:
            columns[name] = _to_numpy(table[name])
        return cls(**columns)

    def __len__(self) -> int:
        return len(self.clip_id)

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """The columns that protocols filter on."""
        return {name: getattr(self, name) for name in COLUMNS}


def _to_numpy(column: pa.ChunkedArray) -> np.ndarray:
    if pa.types.is_string(column.type):
        return np.array(column.to_pylist())
    if pa.types.is_list(column.type):
        # An array of objects, so that numpy does not make a matrix of lists of equal length.
        return np.fromiter(map(tuple, column.to_pylist()), object, len(column))
    return column.fill_null(UNKNOWN).to_numpy().astype(np.int64)
