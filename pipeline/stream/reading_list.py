"""What a rank reads from the files, and in which order. No Ray, no files.

The row groups of a store come in a random order, and this list is cut at the ranks' shares. For
seven clips in row groups of 3, 2 and 2, batches of 3, and two ranks, which take 3 and 4 clips::

    row group, in the epoch's order     2     |    0        |   1
    selected clips                      5   6 |  0   1   2  |  3   4
    position in the list                0   1    2   3   4     5   6
    rank                                0   0    0 | 1   1     1   1

Rank 0 reads two pieces: clips 5 and 6 of row group 2, clip 0 of row group 0.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.stream.epochs import Epochs
from pipeline.stream.randomness import Purpose, permutation


@dataclass(frozen=True)
class RowGroups:
    """Where the selected rows of a store lie: the G row groups that hold at least one of them.

    Example: a shard with row groups of 4, 4 and 4 rows, of which rows 1, 2 and 9 are selected::

        shard  0 0        group  0 2        first  0 8        start  0 2 3

    Attributes:
        shard: int64 [G], number of the shard.
        group: int64 [G], number of the row group in its shard.
        first: int64 [G], id of the row group's first row.
        start: int64 [G + 1], where its rows begin in the list of selected ids; at the end, N.
    """

    shard: np.ndarray
    group: np.ndarray
    first: np.ndarray
    start: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]], ids: np.ndarray) -> "RowGroups":
        """Find the row groups that hold selected rows.

        Args:
            rows: rows of every row group of every shard, in the order of the store.
            ids: int64 [N], selected row numbers, ascending.
        """
        # All row groups of the store, one after another.
        sizes = np.concatenate([np.asarray(shard, np.int64) for shard in rows])
        shard = np.repeat(np.arange(len(rows)), [len(groups) for groups in rows])
        group = np.concatenate([np.arange(len(groups)) for groups in rows])
        ends = np.cumsum(sizes)
        # Where the row groups begin and end in the list of selected ids.
        bounds = np.searchsorted(ids, np.concatenate([[0], ends]))
        held = np.flatnonzero(np.diff(bounds))
        return cls(
            shard=shard[held],
            group=group[held],
            first=(ends - sizes)[held],
            start=np.append(bounds[held], len(ids)),
        )

    def __len__(self) -> int:
        return len(self.shard)

    def piece(self, number: int, start: int, stop: int) -> "Piece":
        """Return the instruction to read selected clips `start` to `stop` of one row group."""
        return Piece(
            shard=int(self.shard[number]),
            group=int(self.group[number]),
            first=int(self.first[number]),
            start=int(start),
            stop=int(stop),
        )


@dataclass(frozen=True)
class Piece:
    """An instruction to read clips of one row group.

    Attributes:
        shard, group, first: see `RowGroups`.
        start, stop: the clips, as positions in the list of selected ids.
    """

    shard: int
    group: int
    first: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class ReadingList:
    """What one rank reads, epoch after epoch, when clips come from the files.

    The list of an epoch is cut at the ranks' shares, so that a rank reads exactly as many clips as
    its batches take. A row group may be split between two ranks. Positions count the clips of this
    rank from the start of an epoch.
    """

    epochs: Epochs
    groups: RowGroups
    rank: int
    world_size: int

    @cached_property
    def range(self) -> tuple[int, int]:
        """Where this rank starts and stops in the epoch's list of all ranks."""
        start = 0
        for rank in range(self.rank):
            start += self._total(rank)
        return start, start + self._total(self.rank)

    def _total(self, rank: int) -> int:
        return int(self.epochs.positions(rank, self.world_size)[-1])

    @property
    def clips(self) -> int:
        """Clips that this rank reads in an epoch."""
        start, stop = self.range
        return stop - start

    def pieces(self, epoch: int, start: int = 0, stop: int | None = None) -> Iterator[Piece]:
        """Yield what to read in an epoch.

        Args:
            epoch: the epoch.
            start: the first position.
            stop: the position after the last one; None for the end of the epoch.
        """
        if stop is None:
            stop = self.clips
        order = permutation(len(self.groups), self.epochs.seed, Purpose.ROW_GROUPS, epoch)
        # In the epoch's order: where the clips of a row group begin in the list of selected ids,
        # and where they end in the list of the epoch.
        begins = self.groups.start[order]
        sizes = self.groups.start[order + 1] - begins
        ends = np.cumsum(self._taken(begins, sizes))

        low = self.range[0] + start
        high = self.range[0] + stop
        while low < high:
            place = int(np.searchsorted(ends, low, side="right"))
            until = min(high, int(ends[place]))
            origin = int(ends[place - 1]) if place else 0
            begin = int(begins[place])
            yield self.groups.piece(order[place], begin + low - origin, begin + until - origin)
            low = until

    def _taken(self, begins: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Decide how many clips an epoch takes of each row group, in the epoch's order.

        Row groups are taken until their part has its number, the last one of them in part. Rows
        lie in a random order in the store, and row groups come in one, so that the first are a fair
        draw. Example, a part of which 5 clips are wanted::

            clips in the row group     3   2   4   2
            clips of the part before   0   3   5   9
            taken                      3   2   0   0
        """
        taken_of_group = sizes.copy()
        first = 0
        for available, taken in self.epochs.parts:
            in_part = (begins >= first) & (begins < first + available)
            before = np.cumsum(sizes[in_part]) - sizes[in_part]
            taken_of_group[in_part] = np.clip(taken - before, 0, sizes[in_part])
            first += available
        return taken_of_group

    def endless(self, epoch: int, start: int) -> Iterator[Piece]:
        """Yield what to read from a position on, through this epoch and all that follow."""
        while True:
            yield from self.pieces(epoch, start)
            epoch += 1
            start = 0

    def shuffled(self, epoch: int, window: int, count: int) -> np.ndarray:
        """Return the order in which the `count` clips of a window are served.

        Args:
            epoch: the epoch.
            window: number of the window in it, from 0.
            count: clips of the window.
        """
        seed = self.epochs.seed
        return permutation(count, seed, Purpose.WINDOW, epoch, self.rank, window)
