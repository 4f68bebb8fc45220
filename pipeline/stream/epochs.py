"""The arithmetic of an epoch: which clips make which batch on which rank. No Ray, no files.

An epoch of N clips with a global batch of at most B is cut into S = ceil(N / B) global batches of
equal size +-1, and each of them is cut over the W workers, equally +-1. Nothing is dropped or
repeated, so that a step number is a position. For N = 7, B = 3, W = 2::

    position in the epoch's order    0   1 | 2   3 | 4   5   6
    step (global batch)                0   |   1   |     2
    rank                             0 | 1 | 0 | 1 | 0 | 1   1

    rank 1 has had this many clips before each step, and in all: 0 1 2 4
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from pipeline.core.arithmetic import ceil_div
from pipeline.core.errors import ConfigError
from pipeline.stream.randomness import Purpose, permutation

# The number of a step, or an array of them.
Step = TypeVar("Step", int, np.ndarray)


def cut(count: Any, parts: int, part: Any) -> tuple[Any, Any]:
    """Cut `count` things into `parts` of equal size +-1.

    Example: 7 things in 3 parts are (0, 2), (2, 4), (4, 7).

    Args:
        count: number of things, or an array of such numbers.
        parts: number of parts.
        part: which part, or an array.

    Returns:
        Where the part starts and where it stops.
    """
    return count * part // parts, count * (part + 1) // parts


@dataclass(frozen=True)
class Epochs:
    """Epochs of clips in global batches.

    Attributes:
        clips: N, of an epoch.
        batch_size: B, at most, of a global batch.
        seed: of every order.
        parts: (clips there are, clips an epoch takes) of every part of the selection, in its order.
            Empty where an epoch takes all. Otherwise every epoch draws its own, and the clips that
            it takes sum to `clips`.
    """

    clips: int
    batch_size: int
    seed: int
    parts: tuple[tuple[int, int], ...] = ()

    @property
    def steps(self) -> int:
        """S, global batches in an epoch."""
        return ceil_div(self.clips, self.batch_size)

    def require(self, world_size: int) -> None:
        """Check that every worker gets at least one clip of every batch.

        Raises:
            ConfigError: it does not.
        """
        smallest = self.clips // self.steps
        if smallest < world_size:
            raise ConfigError(
                f"train.batch_size={self.batch_size}: {self.clips} clips make batches of "
                f"{smallest}, too few for {world_size} workers (cluster.workers); raise the batch "
                "size or take fewer workers"
            )

    def batch(self, step: Step) -> tuple[Step, Step]:
        """Return where a global batch starts and stops in the epoch's order."""
        return cut(self.clips, self.steps, step)

    def share(self, step: Step, rank: int, world_size: int) -> tuple[Step, Step]:
        """Return where a rank's share of a global batch starts and stops in the epoch's order.

        Example, step 2 of 7 clips in batches of 3: (4, 5) on rank 0 of 2, (5, 7) on rank 1.
        """
        start, stop = self.batch(step)
        low, high = cut(stop - start, world_size, rank)
        return start + low, start + high

    def positions(self, rank: int, world_size: int) -> np.ndarray:
        """Return how many clips a rank has had before each step of an epoch, and in all.

        Returns:
            int64 [S + 1].
        """
        start, stop = self.share(np.arange(self.steps), rank, world_size)
        return np.concatenate([[0], np.cumsum(stop - start)])

    def order(self, epoch: int) -> np.ndarray:
        """Return the clips of an epoch in order, whatever the number of workers.

        Returns:
            int64 [clips], positions in the selection: a permutation, or, of parts that are not
            taken whole, clips drawn without replacement.
        """
        order = permutation(self.clips, self.seed, Purpose.CLIPS, epoch)
        if not self.parts:
            return order
        return self._drawn(epoch)[order]

    def _drawn(self, epoch: int) -> np.ndarray:
        """Draw the clips of an epoch from every part.

        Example, parts (3, 3) and (4, 2): all of 0 1 2, and two of 3 4 5 6.
        """
        drawn = []
        start = 0
        for number, (available, taken) in enumerate(self.parts):
            shuffled = permutation(available, self.seed, Purpose.PART, epoch, number)
            drawn.append(start + shuffled[:taken])
            start += available
        return np.concatenate(drawn)


def clips_of_parts(parts: Sequence[tuple[int, int]]) -> int:
    """Return the number of clips that an epoch takes of all parts."""
    return sum(taken for _, taken in parts)
