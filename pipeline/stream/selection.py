"""The clips that a stream serves, of one store or of several.

The clips of several stores are numbered through: an id is a row number, counted after the rows of
the stores before. Two stores of 5 and 4 rows, of which rows 1 and 3, and rows 0, 2 and 3 are
selected::

    position in the selection    0   1     2   3   4
    row in its store             1   3     0   2   3
    id                           1   3     5   7   8
    part                         0   0     1   1   1

With a weight of 2/3, every epoch draws two of the three clips of part 1 anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.core.errors import ConfigError
from pipeline.store.clip_store import ClipStore
from pipeline.store.protocols import Side
from pipeline.stream.epochs import Epochs, clips_of_parts
from pipeline.stream.pairs import Pairs


@dataclass(frozen=True)
class Part:
    """Some clips of a store.

    Attributes:
        store: the store, read as the layout that is wanted.
        side: which of its clips.
        weight: the share of them, above 0 and at most 1, that every epoch draws anew.
    """

    store: ClipStore
    side: Side
    weight: float = 1.0


@dataclass(frozen=True)
class Selection:
    """The selected clips, N of them, in the order of the stores.

    Attributes:
        ids: int64 [N], ascending.
        lengths: int64 [N], frames of every clip.
        parts: (clips there are, clips an epoch takes) of every part; empty if epochs take all.
        pairs: which of the clips are pairs, if batches are to bring them.
    """

    ids: np.ndarray
    lengths: np.ndarray
    parts: tuple[tuple[int, int], ...] = ()
    pairs: Pairs | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def epochs(self, batch_size: int, seed: int) -> Epochs:
        """Return the epochs of these clips."""
        served = clips_of_parts(self.parts) if self.parts else len(self)
        return Epochs(served, batch_size, seed, self.parts)


def select(parts: Sequence[Part], with_pairs: bool) -> Selection:
    """Select the clips of all parts.

    Args:
        parts: which clips of which stores.
        with_pairs: find out which clips show one performance from different cameras.

    Raises:
        ConfigError: a weight leaves no clip.
        UserError: a part holds no clip, or a shard cannot be read.
    """
    ids = []
    lengths = []
    performances = []
    cameras = []
    counts = []
    rows_before = 0
    for part in parts:
        index = part.store.index()
        rows = part.store.select(part.side, index)
        ids.append(rows_before + rows)
        lengths.append(index.num_frames[rows])
        performances.append(index.performance_id[rows])
        cameras.append(index.camera[rows])
        counts.append((len(rows), _clips_an_epoch(part, len(rows))))
        rows_before += len(index)

    pairs = None
    if with_pairs:
        pairs = Pairs.of(np.concatenate(performances), np.concatenate(cameras))
    takes_all = all(available == taken for available, taken in counts)
    return Selection(
        ids=np.concatenate(ids),
        lengths=np.concatenate(lengths),
        parts=() if takes_all else tuple(counts),
        pairs=pairs,
    )


def _clips_an_epoch(part: Part, available: int) -> int:
    """Return how many clips of a part an epoch takes."""
    taken = round(part.weight * available)
    if not taken:
        raise ConfigError(f"{part.side}: weight={part.weight:g} of {available} clips leaves none")
    return taken
