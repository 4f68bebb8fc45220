"""The clips that a stream serves, of one store or of several.

The clips of several stores are numbered through: an id is a row number, counted after the rows of
the stores before. Two stores of 5 and 4 rows, of which rows 1 and 3, and rows 0, 2 and 3 are
selected::

    position in the selection    0   1     2   3   4
    row in its store             1   3     0   2   3
    id                           1   3     5   7   8
    part                         0   0     1   1   1

Labels are numbered through as well, so that those of two stores never meet. If the first store has
the labels 0 to 2, the label 1 of the second one becomes 4. Performances are not: their ids tell
data sets apart, and two stores of one data set may show the same performance.

With a weight of 2/3, every epoch draws two of the three clips of part 1 anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.core.errors import ConfigError
from pipeline.store.clip_store import ClipStore
from pipeline.store.manifest import UNKNOWN
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
        labels: int64 [N], numbered through; -1 where unknown.
        performances: int64 [N], the number of the performance that the clip shows, numbered
            through. A clip whose performance is unknown has one of its own.
        parts: (clips there are, clips an epoch takes) of every part; empty if epochs take all.
        pairs: which of the clips are pairs, if batches are to bring them.
    """

    ids: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray
    performances: np.ndarray
    parts: tuple[tuple[int, int], ...] = ()
    pairs: Pairs | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def facts(self, clips: np.ndarray | slice) -> np.ndarray:
        """Return id, label and performance of clips at some positions, int64 [3, B]."""
        return np.stack([self.ids[clips], self.labels[clips], self.performances[clips]])

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
    labels = []
    names = []
    cameras = []
    counts = []
    rows_before = 0
    labels_before = 0
    for part in parts:
        index = part.store.index()
        rows = part.store.select(part.side, index)
        ids.append(rows_before + rows)
        lengths.append(index.num_frames[rows])
        known = index.label[rows] >= 0
        labels.append(np.where(known, labels_before + index.label[rows], UNKNOWN))
        names.append(index.performance_id[rows])
        cameras.append(index.camera[rows])
        counts.append((len(rows), _clips_an_epoch(part, len(rows))))
        rows_before += len(index)
        labels_before += int(index.label.max()) + 1

    performance_ids = np.concatenate(names)
    pairs = None
    if with_pairs:
        pairs = Pairs.of(performance_ids, np.concatenate(cameras))
    takes_all = all(available == taken for available, taken in counts)
    return Selection(
        ids=np.concatenate(ids),
        lengths=np.concatenate(lengths),
        labels=np.concatenate(labels),
        performances=performance_numbers(performance_ids),
        parts=() if takes_all else tuple(counts),
        pairs=pairs,
    )


def performance_numbers(names: np.ndarray) -> np.ndarray:
    """Number the performances of N clips.

    Example: the names x, y, x and two empty ones become 1, 2, 1, 0 and 3.

    Args:
        names: [N], the ids of the performances; empty where unknown.

    Returns:
        int64 [N], below N.
    """
    known, numbers = np.unique(names, return_inverse=True)
    unknown = np.flatnonzero(names == "")
    if not len(unknown):
        return numbers
    # The empty name is the first in the order of names. Its number goes to the first such clip.
    numbers[unknown[1:]] = len(known) + np.arange(len(unknown) - 1)
    return numbers


def _clips_an_epoch(part: Part, available: int) -> int:
    """Return how many clips of a part an epoch takes."""
    taken = round(part.weight * available)
    if not taken:
        raise ConfigError(f"{part.side}: weight={part.weight:g} of {available} clips leaves none")
    return taken
