"""The arithmetic of an epoch: which clips make which batch, and what a rank reads in which order. No Ray, no files.

An epoch of N clips with a global batch of B is cut into S = ceil(N / B) global batches of equal size +-1, and each of
those over the W workers equally +-1. Nothing is dropped or repeated, so that a step number is a position. Every order
comes from (seed, purpose, epoch, ...) through a counter-based generator: no state travels from epoch to epoch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.core.errors import ConfigError

# What a sequence of random numbers is for; the same seed never serves two purposes.
_CLIPS, _ROW_GROUPS, _WINDOW, _PART, _PAIRS = range(5)


def _generator(*key: int) -> np.random.Generator:
    """Random numbers that depend on nothing but `key` (non-negative integers)."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def _permutation(count: int, *key: int) -> np.ndarray:
    """A permutation of `count` numbers, int64, that depends on nothing but `key`."""
    return _generator(*key).permutation(count)


def cut(count, parts, part):
    """Return (start, stop) of `part` when `count` things are cut into `parts` of equal size +-1; for arrays too."""
    return count * part // parts, count * (part + 1) // parts


@dataclass(frozen=True)
class Epochs:
    """Epochs of `clips` clips in global batches of at most `batch_size`.

    parts: (clips that there are, clips that an epoch takes) of every part of the selection, in its order, where an
        epoch does not take all: then every epoch draws its own. The latter sum to `clips`.
    """

    clips: int
    batch_size: int
    seed: int
    parts: tuple[tuple[int, int], ...] = ()

    @property
    def steps(self) -> int:
        """Number of global batches in an epoch."""
        return -(-self.clips // self.batch_size)

    def require(self, world_size: int) -> None:
        """Check that every worker gets at least one clip of every batch.

        Raises:
            ConfigError: it does not.
        """
        smallest = self.clips // self.steps
        if smallest < world_size:
            raise ConfigError(
                f"train.batch_size={self.batch_size}: {self.clips} clips make batches of {smallest}, too few for "
                f"{world_size} workers (cluster.workers); raise the batch size or take fewer workers"
            )

    def batch(self, step):
        """Return (start, stop) of a global batch in the epoch's order; `step` may be an array."""
        return cut(self.clips, self.steps, step)

    def share(self, step, rank: int, world_size: int):
        """Return (start, stop) of a rank's share of a global batch in the epoch's order; `step` may be an array."""
        start, stop = self.batch(step)
        low, high = cut(stop - start, world_size, rank)
        return start + low, start + high

    def positions(self, rank: int, world_size: int) -> np.ndarray:
        """Return int64 [S + 1]: how many clips a rank has had before each step of an epoch, and in all."""
        start, stop = self.share(np.arange(self.steps), rank, world_size)
        return np.concatenate([[0], np.cumsum(stop - start)])

    def order(self, epoch: int) -> np.ndarray:
        """Return the epoch's clips in order, int64 [clips], whatever the number of workers: a permutation, or of parts
        that are not taken whole a part drawn without replacement."""
        order = _permutation(self.clips, self.seed, _CLIPS, epoch)
        return self._drawn(epoch)[order] if self.parts else order

    def _drawn(self, epoch: int) -> np.ndarray:
        starts = np.cumsum([0, *(there for there, _ in self.parts)])
        return np.concatenate(
            [
                start + _permutation(there, self.seed, _PART, epoch, number)[:taken]
                for number, (start, (there, taken)) in enumerate(
                    zip(starts, self.parts, strict=False)
                )
            ]
        )


@dataclass(frozen=True)
class Pairs:
    """Which clips show one performance from different cameras. Arrays int64 [N], of selected clips.

    order: the clips by performance, and by camera within one.
    first, count: of every clip, where its performance begins in `order` and how many clips of other cameras it has.
    own, size: where the clips of its own camera begin there, and how many they are.
    """

    order: np.ndarray
    first: np.ndarray
    count: np.ndarray
    own: np.ndarray
    size: np.ndarray

    @classmethod
    def of(cls, performance: np.ndarray, camera: np.ndarray) -> "Pairs":
        """From performance (anything that sorts) and camera (int64, -1 where unknown: no pair) of every clip."""
        performance, clips = np.unique(performance, return_inverse=True)[1], np.arange(len(camera))
        performance = np.where(camera < 0, len(clips) + clips, performance)
        order = np.lexsort((camera, performance))
        both = performance * (camera.max() + 2) + camera
        first, end = (
            np.searchsorted(performance[order], performance, side) for side in ("left", "right")
        )
        own, own_end = (np.searchsorted(both[order], both, side) for side in ("left", "right"))
        return cls(order, first, (end - first) - (own_end - own), own, own_end - own)

    def partners(self, seed: int, epoch: int) -> np.ndarray:
        """For every clip another camera's of the same performance, drawn anew every epoch; itself where there is none.

        Returns positions in the selected clips, int64 [N].
        """
        draw = _generator(seed, _PAIRS, epoch).random(len(self.order))
        place = self.first + (draw * self.count).astype(np.int64)
        place += np.where(place >= self.own, self.size, 0)
        clips = np.arange(len(self.order))
        return np.where(self.count > 0, self.order[np.minimum(place, len(clips) - 1)], clips)


@dataclass(frozen=True)
class RowGroups:
    """Where the selected rows of a store lie: the row groups that hold at least one of them, G in all.

    shard, group: int64 [G], number of the shard and of the row group in it.
    first: int64 [G], id of the row group's first row.
    start: int64 [G + 1], where its rows begin in the list of selected ids.
    """

    shard: np.ndarray
    group: np.ndarray
    first: np.ndarray
    start: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]], ids: np.ndarray) -> "RowGroups":
        """Find the selected rows.

        Args:
            rows: rows of every row group of every shard, in the order of the store.
            ids: int64 [N], selected row numbers, ascending.
        """
        sizes = np.concatenate([np.asarray(shard, np.int64) for shard in rows])
        shard = np.repeat(np.arange(len(rows)), [len(groups) for groups in rows])
        group = np.concatenate([np.arange(len(groups)) for groups in rows])
        ends = np.cumsum(sizes)
        bounds = np.searchsorted(ids, np.concatenate([[0], ends]))
        held = np.flatnonzero(np.diff(bounds))
        return cls(
            shard[held], group[held], (ends - sizes)[held], np.append(bounds[held], len(ids))
        )

    def __len__(self) -> int:
        return len(self.shard)


@dataclass(frozen=True)
class Piece:
    """An instruction to read: selected clips `start` to `stop` (positions in the selected ids), of one row group."""

    shard: int
    group: int
    first: int
    start: int
    stop: int


@dataclass(frozen=True)
class ReadingList:
    """What one rank reads, epoch after epoch, when clips are streamed.

    The row groups of an epoch in a random order, cut at the ranks' shares (a row group may be split between two ranks),
    so that a rank reads exactly as many clips in an epoch as its batches take. Positions count a rank's clips from the
    start of an epoch.
    """

    epochs: Epochs
    groups: RowGroups
    rank: int
    world_size: int

    @cached_property
    def range(self) -> tuple[int, int]:
        """(start, stop) of this rank in the epoch's list of all ranks."""
        totals = [
            int(self.epochs.positions(rank, self.world_size)[-1]) for rank in range(self.rank + 1)
        ]
        return sum(totals[:-1]), sum(totals)

    @property
    def clips(self) -> int:
        """Clips that this rank reads in an epoch."""
        start, stop = self.range
        return stop - start

    def pieces(self, epoch: int, start: int = 0, stop: int | None = None) -> Iterator[Piece]:
        """Yield what to read for the positions from `start` to `stop` (the epoch's end) of an epoch."""
        order = _permutation(len(self.groups), self.epochs.seed, _ROW_GROUPS, epoch)
        begins = self.groups.start[order]
        ends = np.cumsum(self._taken(begins, self.groups.start[order + 1] - begins))
        low = self.range[0] + start
        high = self.range[0] + (self.clips if stop is None else stop)
        while low < high:
            place = int(np.searchsorted(ends, low, side="right"))
            until = min(high, int(ends[place]))
            # The row group's clips begin at this position of the list.
            origin = int(ends[place - 1]) if place else 0
            begin, which = int(begins[place]), order[place]
            yield Piece(
                shard=int(self.groups.shard[which]),
                group=int(self.groups.group[which]),
                first=int(self.groups.first[which]),
                start=begin + low - origin,
                stop=begin + until - origin,
            )
            low = until

    def _taken(self, begins: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """How many clips an epoch takes of each row group, given in its order: of each part until it has its number.

        Rows lie in a random order, and row groups come in one, so that the first ones are a fair draw.
        """
        first = 0
        for there, taken in self.epochs.parts:
            mine = (begins >= first) & (begins < first + there)
            before = np.cumsum(sizes[mine]) - sizes[mine]
            sizes[mine] = np.clip(taken - before, 0, sizes[mine])
            first += there
        return sizes

    def endless(self, epoch: int, start: int) -> Iterator[Piece]:
        """Yield what to read from a position on, through this epoch and all that follow."""
        while True:
            yield from self.pieces(epoch, start)
            epoch, start = epoch + 1, 0

    def shuffled(self, epoch: int, window: int, count: int) -> np.ndarray:
        """Return the order in which the `count` clips of a window (counted from 0 in an epoch) are served."""
        return _permutation(count, self.epochs.seed, _WINDOW, epoch, self.rank, window)
