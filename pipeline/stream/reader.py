"""Clips from the files of a store while a rank trains on them, for stores larger than memory."""

from collections import deque
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.store.blocks import Blocks
from pipeline.store.chunks import chunks
from pipeline.stream.instructions import Shards
from pipeline.stream.reading_list import ReadingList
from pipeline.stream.running_dataset import read_ahead

# What may wait in the object store for one rank, besides the windows that it holds: a window, but
# no less than this.
WAITING_BYTES = 256 << 20


@dataclass
class Window:
    """Clips that are shuffled together.

    Attributes:
        blocks: the clips.
        ids: int64, the id of each.
        order: the row numbers in `blocks` that are still to be served, in this order.
    """

    blocks: Blocks
    ids: np.ndarray
    order: np.ndarray


@dataclass(frozen=True)
class ShardFiles:
    """What a rank reads its clips from.

    Attributes:
        shards: the files.
        ids: int64 [N], the selected ids.
        width: numbers in a frame.
        clip_bytes: mean size of a clip.
        window: clips that are shuffled together.
    """

    shards: Shards
    ids: np.ndarray
    width: int
    clip_bytes: int
    window: int


class ClipReader:
    """The clips of a rank from a position on, without end.

    The list runs on from epoch to epoch, so that there is no gap between them. Clips are shuffled
    by index within windows, which begin anew in every epoch. A window of 3 over the 7 clips that a
    rank has in an epoch::

        position    0 1 2 | 3 4 5 | 6
        served      2 0 1 | 4 3 5 | 6

    The reader holds at most two windows of mapped blocks, and what Ray Data has read ahead.

    Args:
        reading: what this rank reads.
        files: what it reads from.
        epoch, position: where to begin. Clips of the same window before the position are read, but
            not served.
    """

    def __init__(self, reading: ReadingList, files: ShardFiles, epoch: int, position: int):
        self._reading = reading
        self._files = files
        # The window that comes next: its epoch, and the position at which it begins.
        self._epoch = epoch
        self._begin = position - position % files.window

        pieces = reading.endless(epoch, self._begin)
        waiting_bytes = max(WAITING_BYTES, files.window * files.clip_bytes)
        self._arriving = read_ahead(pieces, files.shards, files.ids, waiting_bytes)
        # Tables that have arrived and belong to no window yet, and the clips in them.
        self._tables: deque[pa.Table] = deque()
        self._waiting = 0

        self._current = self._next_window()
        self._current.order = self._current.order[position % files.window :]

    def close(self) -> None:
        """Stop reading and let go of all tables."""
        self._arriving.close()
        self._tables.clear()

    def take(self, count: int) -> list[tuple[Window, np.ndarray]]:
        """Return the next clips.

        Args:
            count: how many.

        Returns:
            Windows, each with the row numbers of its clips, ascending.
        """
        # Always have a window ahead of what is served. Waiting is then as even as reading is, at
        # the ends of epochs, too.
        self._wait_for(self._files.window + count - len(self._current.order))
        parts = []
        while count:
            if not len(self._current.order):
                self._current = self._next_window()
            order = self._current.order
            rows = order[:count]
            self._current.order = order[count:]
            parts.append((self._current, np.sort(rows)))
            count -= len(rows)
        return parts

    def _next_window(self) -> Window:
        count = min(self._files.window, self._reading.clips - self._begin)
        table = self._cut(count)
        ids = self._expected_ids(self._begin, self._begin + count)
        if not np.array_equal(table["id"].to_numpy(), ids):
            raise RuntimeError(
                f"epoch {self._epoch}: Ray Data returned other clips than it was told to read"
            )
        number = self._begin // self._files.window
        order = self._reading.shuffled(self._epoch, number, count)
        self._begin += count
        if self._begin == self._reading.clips:
            self._epoch += 1
            self._begin = 0
        return Window(Blocks(chunks(table["joints"], self._files.width)), ids, order)

    def _expected_ids(self, start: int, stop: int) -> np.ndarray:
        """Return the ids of the clips at these positions of the epoch."""
        pieces = self._reading.pieces(self._epoch, start, stop)
        return np.concatenate([self._files.ids[piece.start : piece.stop] for piece in pieces])

    def _wait_for(self, count: int) -> None:
        while self._waiting < count:
            table = next(self._arriving)
            self._tables.append(table)
            self._waiting += len(table)

    def _cut(self, count: int) -> pa.Table:
        """Take `count` rows off the tables that have arrived. Nothing is copied."""
        self._wait_for(count)
        self._waiting -= count
        parts = []
        while count:
            table = self._tables.popleft()
            if len(table) > count:
                self._tables.appendleft(table.slice(count))
                table = table.slice(0, count)
            parts.append(table)
            count -= len(table)
        return pa.concat_tables(parts)
