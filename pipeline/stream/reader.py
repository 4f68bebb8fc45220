"""Reading clips from the files of a store while a rank trains on them, for stores larger than memory."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
import ray.data

from pipeline.core import storage
from pipeline.core.errors import UserError, first_line
from pipeline.store.blocks import Blocks
from pipeline.store.chunks import chunks
from pipeline.store.clip_store import ClipStore
from pipeline.store.conversion import Conversion
from pipeline.stream.epochs import Piece, ReadingList, RowGroups

# CPUs of a reading task: what a cluster keeps free of training workers is enough for one.
READ_CPUS = 0.5
# Row groups that one reading task takes: with fewer, starting tasks takes longer than reading.
PIECES_PER_TASK = 8
# Tasks that read for one rank at the same time.
TASKS = 2
# Tasks of one dataset. It takes about a millisecond a task to prepare; its successor is started before it ends.
TASKS_PER_DATASET = 128
# Blocks that tasks hand over: about a row group.
BLOCK_BYTES = 16 << 20
# What may wait in the object store for one rank, besides the windows it holds: a window, but no less than this.
WAITING_BYTES = 256 << 20


@dataclass(frozen=True)
class Shards:
    """The shards that clips are read from, of one or several stores, numbered through.

    uris: where they lie. conversions: how their clips are read (`Conversion.dumps`), None where as they are.
    rows: rows of the row groups of each.
    """

    uris: tuple[str, ...]
    conversions: tuple[str | None, ...]
    rows: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, stores: Iterable[ClipStore]) -> "Shards":
        """Those of some stores, one after another: a clip's id is its row number after the rows of stores before."""
        found = [
            (
                uri,
                store.conversion.dumps() if store.conversion else None,
                tuple(shard["row_groups"]),
            )
            for store in stores
            for uri, shard in zip(store.paths, store.manifest["shards"], strict=True)
        ]
        return cls(*zip(*found, strict=True))

    def instruction(self, piece: Piece, ids: np.ndarray) -> dict[str, Any]:
        """One row for `read_pieces`; `ids`: int64 [N], the selected ids that the piece's positions count in."""
        return {
            "uri": self.uris[piece.shard],
            "conversion": self.conversions[piece.shard],
            "group": piece.group,
            "first": piece.first,
            "ids": ids[piece.start : piece.stop].tobytes(),
        }

    def pieces(self, ids: np.ndarray) -> list[dict[str, Any]]:
        """What `read_pieces` takes to read the clips `ids` (ascending), in order: a row a row group that holds any."""
        groups = RowGroups.of(self.rows, ids)
        pieces = [
            Piece(int(shard), int(group), int(first), int(start), int(stop))
            for shard, group, first, start, stop in zip(
                groups.shard,
                groups.group,
                groups.first,
                groups.start,
                groups.start[1:],
                strict=False,
            )
        ]
        return [self.instruction(piece, ids) for piece in pieces]

    def instructions(self, ids: np.ndarray, tasks: int | None = None) -> ray.data.Dataset:
        """The same as a dataset.

        Not `ray.data.read_parquet`: before reading it lists files in a task of a whole CPU, which others may not leave.
        """
        rows = self.pieces(ids)
        return ray.data.from_items(
            rows, override_num_blocks=min(len(rows), tasks or -(-len(rows) // PIECES_PER_TASK))
        )


def instructions(store: ClipStore, ids: np.ndarray) -> ray.data.Dataset:
    """The instructions to read the clips `ids` (ascending) of one store, in order."""
    return Shards.of([store]).instructions(ids)


def read_pieces(pieces: pa.Table) -> Iterator[pa.Table]:
    """Read the clips that instructions name, in Ray Data tasks; yields tables of `joints` and `id`.

    Raises:
        UserError: a shard cannot be read.
    """
    for piece in pieces.to_pylist():
        ids = np.frombuffer(piece["ids"], np.int64)
        rows = ids - piece["first"]
        filesystem, path = storage.resolve(piece["uri"])
        try:
            with pq.ParquetFile(path, filesystem=filesystem, pre_buffer=True) as file:
                joints = file.read_row_group(piece["group"], columns=["joints"], use_threads=False)[
                    "joints"
                ]
        except (pa.ArrowInvalid, OSError) as error:
            where = f"{piece['uri']}: row group {piece['group']}"
            raise UserError(f"{where} cannot be read ({first_line(error)})") from error
        adjacent = rows[-1] - rows[0] + 1 == len(rows)
        joints = joints.slice(rows[0], len(rows)) if adjacent else joints.take(pa.array(rows))
        if piece["conversion"]:
            joints = Conversion.loads(piece["conversion"])(joints)
        yield pa.table({"joints": joints, "id": ids})


class _Dataset:
    """One Ray Data dataset of instructions, running: its first table has arrived.

    left: clips that it has not yielded yet.
    """

    def __init__(self, pieces: list[dict], clips: int, waiting_bytes: int):
        self.left = clips
        dataset = ray.data.from_items(
            pieces, override_num_blocks=-(-len(pieces) // PIECES_PER_TASK)
        )
        tasks = ray.data.TaskPoolStrategy(size=TASKS)
        dataset = dataset.map_batches(
            read_pieces, batch_size=None, batch_format="pyarrow", num_cpus=READ_CPUS, compute=tasks
        )
        context = dataset.context
        context.enable_progress_bars = context.print_on_execution_start = False
        context.target_max_block_size = BLOCK_BYTES
        context.execution_options.preserve_order = True
        context.execution_options.resource_limits = ray.data.ExecutionResources(
            object_store_memory=waiting_bytes
        )
        self._tables = iter(
            dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=2)
        )
        self._table = self._next()

    def __iter__(self) -> Iterator[pa.Table]:
        while self._table is not None:
            table, self._table = self._table, None
            self.left -= len(table)
            yield table
            self._table = self._next()

    def _next(self) -> pa.Table | None:
        try:
            return next(self._tables, None)
        except ray.exceptions.RayTaskError as error:
            raise UserError(first_line(error)) from error

    def close(self) -> None:
        """Shut its executor down."""
        self._tables.close()


@dataclass
class Window:
    """Clips that are shuffled together; `order` holds the row numbers that are still to be served."""

    blocks: Blocks
    ids: np.ndarray
    order: np.ndarray


class Reader:
    """A rank's clips from a position on, without end: the list runs on from epoch to epoch, so there is no gap.

    Clips are shuffled by index within windows, which start anew with every epoch. Holds two windows of mapped blocks at
    most, and what Ray Data has read ahead.

    Args:
        reading: what this rank reads.
        window: clips of a window.
        ids: int64 [N], selected row numbers.
        shards: where they lie.
        width: numbers in a frame.
        clip_bytes: mean size of a clip.
        epoch, position: where to begin; clips of the same window before it are read, but not served.
    """

    def __init__(
        self,
        reading: ReadingList,
        window: int,
        ids: np.ndarray,
        shards: Shards,
        width: int,
        clip_bytes: int,
        epoch: int,
        position: int,
    ):
        self._reading, self._window, self._ids, self._shards, self._width = (
            reading,
            window,
            ids,
            shards,
            width,
        )
        self._waiting_bytes = max(WAITING_BYTES, window * clip_bytes)
        self._epoch, self._begin = epoch, position - position % window
        self._arriving = self._arrive(reading.endless(epoch, self._begin))
        self._tables: deque[pa.Table] = deque()
        self._waiting = 0
        self._current = self._next_window()
        self._current.order = self._current.order[position % window :]

    def close(self) -> None:
        """Stop reading and let go of all tables."""
        self._arriving.close()
        self._tables.clear()

    def take(self, count: int) -> list[tuple[Window, np.ndarray]]:
        """Return the next `count` clips: windows with ascending row numbers in each."""
        # Always a window ahead of what is served: waiting is as even as reading is, at the ends of epochs too.
        self._wait_for(self._window + count - len(self._current.order))
        parts = []
        while count:
            if not len(self._current.order):
                self._current = self._next_window()
            rows, self._current.order = np.split(self._current.order, [count])
            parts.append((self._current, np.sort(rows)))
            count -= len(rows)
        return parts

    def _next_window(self) -> Window:
        count = min(self._window, self._reading.clips - self._begin)
        table = self._cut(count)
        expected = self._reading.pieces(self._epoch, self._begin, self._begin + count)
        ids = np.concatenate([self._ids[piece.start : piece.stop] for piece in expected])
        if not np.array_equal(table["id"].to_numpy(), ids):
            raise RuntimeError(
                f"epoch {self._epoch}: Ray Data returned other clips than it was told to read"
            )
        order = self._reading.shuffled(self._epoch, self._begin // self._window, count)
        self._begin += count
        if self._begin == self._reading.clips:
            self._epoch, self._begin = self._epoch + 1, 0
        return Window(Blocks(chunks(table["joints"], self._width)), ids, order)

    def _wait_for(self, count: int) -> None:
        while self._waiting < count:
            self._tables.append(next(self._arriving))
            self._waiting += len(self._tables[-1])

    def _cut(self, count: int) -> pa.Table:
        """Take `count` rows off the tables that have arrived; nothing is copied."""
        self._wait_for(count)
        self._waiting -= count
        parts = []
        while count:
            parts.append(self._tables.popleft())
            if len(parts[-1]) > count:
                self._tables.appendleft(parts[-1].slice(count))
                parts[-1] = parts[-1].slice(0, count)
            count -= len(parts[-1])
        return pa.concat_tables(parts)

    def _arrive(self, pieces: Iterator[Piece]) -> Iterator[pa.Table]:
        """Yield what Ray Data reads, dataset after dataset, each started before the one before it has ended."""
        following: Future[_Dataset] | None = None
        with ThreadPoolExecutor(1, thread_name_prefix="clip-reader") as pool:
            current = self._start(pieces)
            try:
                while True:
                    clips = current.left
                    for table in current:
                        if following is None and current.left <= clips // 8:
                            following = pool.submit(self._start, pieces)
                        yield table
                    current.close()
                    current, following = following.result(), None
            finally:
                current.close()
                if following is not None:
                    following.result().close()

    def _start(self, pieces: Iterator[Piece]) -> _Dataset:
        some = list(islice(pieces, TASKS_PER_DATASET * PIECES_PER_TASK))
        items = [self._shards.instruction(piece, self._ids) for piece in some]
        return _Dataset(items, sum(piece.stop - piece.start for piece in some), self._waiting_bytes)
