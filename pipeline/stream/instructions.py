"""Instructions to read clips: what a reading task is told, and how it reads.

An instruction names a shard, a row group in it, and the ids of the clips that are wanted. Tasks of
Ray Data read them, and so does any process that calls `read_pieces` itself.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
import ray.data

from pipeline.core import storage
from pipeline.core.arithmetic import ceil_div
from pipeline.core.errors import UserError, first_line
from pipeline.store.clip_store import ClipStore
from pipeline.store.conversion import Conversion
from pipeline.stream.reading_list import Piece, RowGroups

# CPUs of a reading task. What a cluster keeps free of training workers is enough for one.
READ_CPUS = 0.5
# Row groups that one reading task takes. With fewer, starting tasks takes longer than reading.
PIECES_PER_TASK = 8


@dataclass(frozen=True)
class Shards:
    """The shards that clips are read from, of one store or of several, numbered through.

    Attributes:
        uris: where they lie.
        conversions: how their clips are read (`Conversion.dumps`), None for as they are.
        rows: rows of the row groups of each.
    """

    uris: tuple[str, ...]
    conversions: tuple[str | None, ...]
    rows: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, stores: Iterable[ClipStore]) -> "Shards":
        """List the shards of some stores, one store after another.

        The id of a clip is its row number, counted after the rows of the stores before.
        """
        uris = []
        conversions = []
        rows = []
        for store in stores:
            conversion = store.conversion.dumps() if store.conversion else None
            for uri, shard in zip(store.paths, store.manifest["shards"], strict=True):
                uris.append(uri)
                conversions.append(conversion)
                rows.append(tuple(shard["row_groups"]))
        return cls(tuple(uris), tuple(conversions), tuple(rows))

    def instruction(self, piece: Piece, ids: np.ndarray) -> dict[str, Any]:
        """Return one row for `read_pieces`.

        Args:
            piece: what to read.
            ids: int64 [N], the selected ids that the piece's positions count in.
        """
        return {
            "uri": self.uris[piece.shard],
            "conversion": self.conversions[piece.shard],
            "group": piece.group,
            "first": piece.first,
            "ids": ids[piece.start : piece.stop].tobytes(),
        }

    def pieces(self, ids: np.ndarray) -> list[dict[str, Any]]:
        """Return the rows for `read_pieces` that read some clips, in order.

        Args:
            ids: int64, ascending.

        Returns:
            One row for every row group that holds a clip.
        """
        groups = RowGroups.of(self.rows, ids)
        rows = []
        for number in range(len(groups)):
            piece = groups.piece(number, groups.start[number], groups.start[number + 1])
            rows.append(self.instruction(piece, ids))
        return rows

    def instructions(self, ids: np.ndarray, tasks: int | None = None) -> ray.data.Dataset:
        """Return the same rows as a dataset.

        Not `ray.data.read_parquet`: before it reads, it lists files in a task of a whole CPU, which
        others may not have left.

        Args:
            ids: int64, ascending.
            tasks: how many tasks are to read; None for `PIECES_PER_TASK` row groups each.
        """
        rows = self.pieces(ids)
        if tasks is None:
            tasks = ceil_div(len(rows), PIECES_PER_TASK)
        return ray.data.from_items(rows, override_num_blocks=min(len(rows), tasks))


def instructions(store: ClipStore, ids: np.ndarray) -> ray.data.Dataset:
    """Return the instructions to read clips of one store, in order.

    Args:
        store: the store.
        ids: int64, ascending.
    """
    return Shards.of([store]).instructions(ids)


def read_pieces(pieces: pa.Table) -> Iterator[pa.Table]:
    """Read the clips that instructions name. Ray Data calls this in its tasks.

    Args:
        pieces: instructions, a row each.

    Yields:
        Tables of `joints` and `id`, one for every instruction.

    Raises:
        UserError: a shard cannot be read.
    """
    for piece in pieces.to_pylist():
        ids = np.frombuffer(piece["ids"], np.int64)
        rows = ids - piece["first"]
        joints = _read_row_group(piece["uri"], piece["group"])
        if rows[-1] - rows[0] + 1 == len(rows):
            # Without gaps: the rows stay where they are.
            joints = joints.slice(rows[0], len(rows))
        else:
            joints = joints.take(pa.array(rows))
        if piece["conversion"]:
            convert = Conversion.loads(piece["conversion"])
            joints = convert(joints)
        yield pa.table({"joints": joints, "id": ids})


def _read_row_group(uri: str, group: int) -> pa.ChunkedArray:
    """Read the coordinates of a whole row group."""
    filesystem, path = storage.resolve(uri)
    try:
        with pq.ParquetFile(path, filesystem=filesystem, pre_buffer=True) as file:
            table = file.read_row_group(group, columns=["joints"], use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:
        reason = first_line(error)
        raise UserError(f"{uri}: row group {group} cannot be read ({reason})") from error
    return table["joints"]
