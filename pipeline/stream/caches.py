"""What a worker takes batches from: mapped blocks (`memory`), its own copy of them (`device`), or the files (`none`).

Shapes: B clips of this rank, F frames, M persons, V joints, N selected clips of the store.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from models.clips import ClipBatch
from pipeline.store.blocks import Blocks
from pipeline.store.chunks import chunks
from pipeline.store.manifest import UNKNOWN
from pipeline.stream.epochs import Epochs, Pairs
from pipeline.stream.reader import Reader


@dataclass(frozen=True)
class Rank:
    """What every cache knows of one worker and of the clips.

    ids, lengths: int64 [N], row numbers and frames of the selected clips.
    device: where batches are wanted.
    pairs: the selected clips that show one performance from different cameras, where batches shall bring both.
    """

    epochs: Epochs
    rank: int
    world_size: int
    device: torch.device
    ids: np.ndarray
    lengths: np.ndarray
    persons: int
    joints: int
    pairs: Pairs | None = None

    @property
    def width(self) -> int:
        """Numbers in a frame."""
        return self.persons * self.joints * 3

    def share(self, step: int) -> tuple[int, int]:
        """(start, stop) of this worker's clips of a global batch, in the epoch's order."""
        return self.epochs.share(step, self.rank, self.world_size)

    def batch(self, frames: Tensor, offsets: Tensor, ids: Tensor) -> ClipBatch:
        """Make a batch on the worker's device of frames [F, M * V * 3]."""
        frames, offsets, ids = (
            value.to(self.device, non_blocking=True) for value in (frames, offsets, ids)
        )
        return ClipBatch(
            frames.view(-1, self.persons, self.joints, 3),
            offsets,
            ids,
            torch.full_like(ids, UNKNOWN),
        )


class Stream(ABC):
    """One worker's batches. Close it, or use it as a context manager: it may hold readers that run ahead.

    description: the cache in use and why, for the console.
    """

    def __init__(self, rank: Rank, description: str):
        self.description = description
        self._rank = rank

    @property
    def clips(self) -> int:
        """N, clips of an epoch, of all workers."""
        return self._rank.epochs.clips

    @property
    def steps_per_epoch(self) -> int:
        """Global batches in an epoch."""
        return self._rank.epochs.steps

    def batch_clips(self, step: int) -> int:
        """Clips of a global batch."""
        start, stop = self._rank.epochs.batch(step)
        return stop - start

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[tuple[int, ClipBatch]]:
        """Yield (step, this worker's share of the global batch) from `start_step` to the end of the epoch.

        The same (seed, epoch, step) gives the same batch, whatever was read before. Batches are on the worker's device,
        in memory of their own; ids are row numbers of the store, labels -1. With pairs `other` holds every clip's other
        camera, or the clip again where it has none.

        Raises:
            ValueError: there is no such step.
        """
        if not 0 <= start_step <= self.steps_per_epoch:
            raise ValueError(f"step {start_step} is not in an epoch of {self.steps_per_epoch}")
        return self._batches(epoch, start_step)

    @abstractmethod
    def _batches(self, epoch: int, start_step: int) -> Iterator[tuple[int, ClipBatch]]: ...

    def close(self) -> None:  # noqa: B027 - only one of the caches holds something that runs
        """Stop what runs ahead. A later `epoch` starts it again."""

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Shuffled(Stream):
    """Batches of a perfect shuffle: any clip can be had at any time by its position in the selected ids."""

    def _batches(self, epoch: int, start_step: int) -> Iterator[tuple[int, ClipBatch]]:
        order, pairs = self._rank.epochs.order(epoch), self._rank.pairs
        partners = pairs.partners(self._rank.epochs.seed, epoch) if pairs else None
        for step in range(start_step, self.steps_per_epoch):
            start, stop = self._rank.share(step)
            # In the order of the store, so that a gather visits each block once.
            rows = np.sort(order[start:stop])
            clips = self._gather(rows)
            yield (
                step,
                clips if partners is None else replace(clips, other=self._gather(partners[rows])),
            )

    @abstractmethod
    def _gather(self, rows: np.ndarray) -> ClipBatch:
        """The clips at these positions in the selected ids, in this order; a clip may come twice."""


class MemoryStream(_Shuffled):
    """Gathers from Arrow blocks that lie in the object store, mapped by all workers of a node."""

    def __init__(self, rank: Rank, description: str, tables: Iterable[pa.Table]):
        super().__init__(rank, description)
        self._blocks = Blocks(
            chunk for table in tables for chunk in chunks(table["joints"], rank.width)
        )

    def _gather(self, rows: np.ndarray) -> ClipBatch:
        ascending = np.argsort(rows, kind="stable")
        frames, offsets = self._blocks.gather(rows[ascending], pin=self._rank.device.type == "cuda")
        if (np.diff(rows) < 0).any():
            frames, offsets = _reordered(frames, offsets, np.argsort(ascending))
        return self._rank.batch(frames, offsets, torch.from_numpy(self._rank.ids[rows]))


class DeviceStream(_Shuffled):
    """Gathers on the device from a copy of all clips: a step sends B numbers there and waits for nothing.

    `tables` are copied one after another; none is held.
    """

    def __init__(self, rank: Rank, description: str, tables: Iterable[pa.Table]):
        super().__init__(rank, description)
        ends = np.cumsum(rank.lengths)
        self._frames = torch.empty(
            (int(ends[-1]), rank.width), dtype=torch.float32, device=rank.device
        )
        # First frame, number of frames, id.
        self._clips = torch.from_numpy(np.stack([ends - rank.lengths, rank.lengths, rank.ids])).to(
            rank.device
        )
        filled = 0
        for table in tables:
            for chunk in chunks(table["joints"], rank.width):
                self._frames[filled : filled + len(chunk.frames)].copy_(chunk.tensor())
                filled += len(chunk.frames)

    def _gather(self, rows: np.ndarray) -> ClipBatch:
        # Known here, so that the host need not wait for the device to tell.
        total = int(self._rank.lengths[rows].sum())
        starts, lengths, ids = self._clips[
            :, torch.from_numpy(rows).to(self._rank.device, non_blocking=True)
        ]
        return self._rank.batch(*_cut_out(self._frames, starts, lengths, total), ids)


def _cut_out(frames: Tensor, starts: Tensor, lengths: Tensor, total: int) -> tuple[Tensor, Tensor]:
    """Clips that begin at `starts` of frames [F, C] and have `lengths` frames, `total` in all: frames and offsets."""
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    source = torch.repeat_interleave(starts - offsets[:-1], lengths, output_size=total)
    source += torch.arange(total, device=source.device)
    return frames.index_select(0, source), offsets


def _reordered(frames: Tensor, offsets: Tensor, order: np.ndarray) -> tuple[Tensor, Tensor]:
    """The same clips in another order."""
    order = torch.from_numpy(order)
    return _cut_out(frames, offsets[:-1][order], offsets.diff()[order], len(frames))


class FileStream(Stream):
    """Batches of a reader that runs through the files: shuffled row groups, clips shuffled within a window.

    `start_reader(epoch, position)` opens one that begins at this worker's clip number `position` of an epoch.
    """

    def __init__(self, rank: Rank, description: str, start_reader: Callable[[int, int], Reader]):
        super().__init__(rank, description)
        self._start_reader = start_reader
        self._reader: Reader | None = None
        # Epoch and step that the reader comes to next.
        self._next: tuple[int, int] | None = None
        self._positions = rank.epochs.positions(rank.rank, rank.world_size)

    def _batches(self, epoch: int, start_step: int) -> Iterator[tuple[int, ClipBatch]]:
        if start_step == self.steps_per_epoch:
            return
        if self._next != (epoch, start_step):
            self.close()
            self._reader = self._start_reader(epoch, int(self._positions[start_step]))
        reader, self._next = self._reader, None
        try:
            for step in range(start_step, self.steps_per_epoch):
                yield (
                    step,
                    self._gather(
                        reader.take(int(self._positions[step + 1] - self._positions[step]))
                    ),
                )
            self._next = (epoch + 1, 0)
        finally:
            # A consumer that stops inside an epoch will not go on from here; at its end the reader runs on.
            if self._next is None and self._reader is reader:
                self.close()

    def _gather(self, parts: list) -> ClipBatch:
        blocks = Blocks(chunk for window, _ in parts for chunk in window.blocks.chunks)
        first = np.cumsum([0, *(len(window.blocks) for window, _ in parts)])
        rows = np.concatenate(
            [start + rows for start, (_, rows) in zip(first, parts, strict=False)]
        )
        frames, offsets = blocks.gather(rows, pin=self._rank.device.type == "cuda")
        ids = np.concatenate([window.ids[rows] for window, rows in parts])
        return self._rank.batch(frames, offsets, torch.from_numpy(ids))

    def close(self) -> None:
        """Shut the reader down. A later `epoch` starts another."""
        reader, self._reader, self._next = self._reader, None, None
        if reader is not None:
            reader.close()
