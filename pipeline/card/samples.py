"""Which clips of a store are shown, and under which names."""

from collections.abc import Sequence

import numpy as np

from pipeline.card.contents import class_name
from pipeline.store.clip_store import UNKNOWN, StoreIndex

SAMPLES = 6
CROWDED_SAMPLES = 2  # of these, so many with two persons where there are any
CLEAR = 0.08  # metres


def choose(index: StoreIndex, seed: int) -> np.ndarray:
    """Ids of SAMPLES clips of the longer half, drawn by the seed: of different classes as far as there are, and
    CROWDED_SAMPLES of them with several persons."""
    long = np.flatnonzero(index.num_frames >= np.median(index.num_frames))
    order = np.random.default_rng(seed).permutation(long)
    crowded = _class_by_class(order[index.num_persons[order] > 1], index.label)[:CROWDED_SAMPLES]
    others = order[~np.isin(order, crowded)]
    return _class_by_class(np.concatenate([crowded, others]), index.label, kept=len(crowded))[
        :SAMPLES
    ]


def _class_by_class(order: np.ndarray, label: np.ndarray, kept: int = 0) -> np.ndarray:
    """The same clips, the first of every class before the second of any; the first `kept` stay in front."""
    grouped = np.argsort(label[order], kind="stable")
    _, first, count = np.unique(label[order][grouped], return_index=True, return_counts=True)
    turn = np.empty(len(order), np.int64)
    turn[grouped] = np.arange(len(order)) - np.repeat(first, count)
    turn[:kept] = -1
    return order[np.argsort(turn, kind="stable")]


def title(index: StoreIndex, row: int, classes: Sequence[str]) -> str:
    """What a clip is, in a line."""
    who = [
        f"{key} {getattr(index, key)[row]}"
        for key in ("subject", "camera")
        if getattr(index, key)[row] != UNKNOWN
    ]
    return ", ".join([f"{class_name(int(index.label[row]), classes)}: {index.clip_id[row]}", *who])


def clearest(clips: Sequence[np.ndarray]) -> np.ndarray:
    """Of the bodies [V, 3] with the fewest joints missing the one whose joints lie farthest apart, seen from the front.

    Farther than CLEAR from the nearest other joint counts no more: it is not the wildest error that is looked for.
    """
    bodies = np.concatenate([clip.reshape(-1, *clip.shape[2:]) for clip in clips])
    seen = (bodies != 0).any(-1).sum(1)
    bodies = bodies[seen == seen.max()]
    apart = np.linalg.norm(bodies[:, :, None, :2] - bodies[:, None, :, :2], axis=-1)
    apart += np.where(np.eye(bodies.shape[1], dtype=bool), np.inf, 0)
    return bodies[np.minimum(apart.min(-1), CLEAR).sum(1).argmax()]
