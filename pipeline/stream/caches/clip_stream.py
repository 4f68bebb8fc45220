"""What all caches share: the interface that a worker takes batches from, and what each one knows.

Shapes: B clips of this rank, F frames, M persons, V joints, N selected clips of the store.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from models.clips import ClipBatch
from pipeline.stream.epochs import Epochs
from pipeline.stream.selection import Selection


@dataclass(frozen=True)
class WorkerShare:
    """What every cache knows of one worker and of the clips.

    Attributes:
        epochs: how an epoch is cut into batches.
        rank, world_size: which worker this is, and how many there are.
        device: where batches are wanted.
        selection: the selected clips.
        persons: M.
        joints: V.
    """

    epochs: Epochs
    rank: int
    world_size: int
    device: torch.device
    selection: Selection
    persons: int
    joints: int

    @property
    def width(self) -> int:
        """Numbers in a frame."""
        return self.persons * self.joints * 3

    @property
    def pin(self) -> bool:
        """Whether batches are gathered in page-locked memory, for copies to a GPU."""
        return self.device.type == "cuda"

    def range(self, step: int) -> tuple[int, int]:
        """Return where this worker's clips of a global batch start and stop in the order."""
        return self.epochs.share(step, self.rank, self.world_size)

    def batch(self, frames: Tensor, offsets: Tensor, facts: Tensor) -> ClipBatch:
        """Make a batch on the worker's device.

        Args:
            frames: float32 [F, M * V * 3].
            offsets: int64 [B + 1].
            facts: int64 [3, B], see `Selection.facts`.
        """
        frames = frames.to(self.device, non_blocking=True)
        offsets = offsets.to(self.device, non_blocking=True)
        ids, labels, performances = facts.to(self.device, non_blocking=True)
        return ClipBatch(
            frames.view(-1, self.persons, self.joints, 3),
            offsets,
            ids,
            labels,
            performances=performances,
        )


class ClipStream(ABC):
    """The batches of one worker.

    Close it, or use it as a context manager: it may hold readers that run ahead.

    Attributes:
        description: the cache in use and why, for the console.
    """

    def __init__(self, share: WorkerShare, description: str):
        self.description = description
        self._share = share

    @property
    def clips(self) -> int:
        """N, clips of an epoch, of all workers."""
        return self._share.epochs.clips

    @property
    def steps_per_epoch(self) -> int:
        """Global batches in an epoch."""
        return self._share.epochs.steps

    def batch_clips(self, step: int) -> int:
        """Clips of a global batch."""
        start, stop = self._share.epochs.batch(step)
        return stop - start

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[tuple[int, ClipBatch]]:
        """Yield the batches of an epoch.

        The same (seed, epoch, step) gives the same batch, whatever was read before.

        Args:
            epoch: the epoch.
            start_step: the first step that is wanted.

        Returns:
            An iterator over (step, this worker's share of the global batch). Batches are on the
            worker's device, in memory of their own; ids, labels and performances are those of the
            selection (see `pipeline.stream.selection`). With pairs, `other` holds every clip's
            partner, or the clip again if it has none.

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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ShuffledStream(ClipStream):
    """Batches of a perfect shuffle: any clip can be had at any time, by its position."""

    def _batches(self, epoch: int, start_step: int) -> Iterator[tuple[int, ClipBatch]]:
        order = self._share.epochs.order(epoch)
        partners = None
        pairs = self._share.selection.pairs
        if pairs is not None:
            partners = pairs.partners(self._share.epochs.seed, epoch)
        for step in range(start_step, self.steps_per_epoch):
            start, stop = self._share.range(step)
            # In the order of the store, so that a gather visits each block once.
            rows = np.sort(order[start:stop])
            clips = self._gather(rows)
            if partners is not None:
                clips = replace(clips, other=self._gather(partners[rows]))
            yield step, clips

    @abstractmethod
    def _gather(self, rows: np.ndarray) -> ClipBatch:
        """Return the clips at these positions in the selection, in this order.

        A clip may come twice.
        """


def cut_out(frames: Tensor, starts: Tensor, lengths: Tensor, total: int) -> tuple[Tensor, Tensor]:
    """Copy clips out of frames that hold many.

    Example: clips that start at frames 7 and 2 and have 2 and 3 frames::

        offsets            0      2          5
        output frame       0  1   2  3  4
        starts - offsets   7  7   0  0  0
        source frame       7  8   2  3  4

    Args:
        frames: [F, C].
        starts: int64 [B], first frame of each clip.
        lengths: int64 [B], frames of each clip.
        total: sum of `lengths`, so that the host need not wait for a device to tell.

    Returns:
        frames [total, C] and offsets int64 [B + 1].
    """
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    source = torch.repeat_interleave(starts - offsets[:-1], lengths, output_size=total)
    source += torch.arange(total, device=source.device)
    return frames.index_select(0, source), offsets
