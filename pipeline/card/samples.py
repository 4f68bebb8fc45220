"""Which clips of a store a card shows, and under which names."""

from collections.abc import Sequence

import numpy as np

from pipeline.card.contents import class_name
from pipeline.store.index import StoreIndex
from pipeline.store.manifest import UNKNOWN
from pipeline.store.samples import choose_clips, longer_half

SAMPLES = 6  # animations on a page: enough to see a pattern, few enough to load
CROWDED_SAMPLES = 2  # of these, so many with several persons, where there are any
# Metres. Two names beside joints that are this far apart do not touch.
CLEAR = 0.08


def choose(index: StoreIndex, seed: int) -> np.ndarray:
    """Ids of SAMPLES clips of the longer half of a store, drawn by the seed.

    They are of different classes as far as possible, and CROWDED_SAMPLES of them show several
    persons, where the store has such clips.
    """
    candidates = np.random.default_rng(seed).permutation(longer_half(index))
    return choose_clips(index, candidates, SAMPLES, CROWDED_SAMPLES)


def title(index: StoreIndex, row: int, classes: Sequence[str]) -> str:
    """What a clip is, in a line: its class, its name, and its subject and camera if known."""
    parts = [f"{class_name(int(index.label[row]), classes)}: {index.clip_id[row]}"]
    for column in ("subject", "camera"):
        number = getattr(index, column)[row]
        if number != UNKNOWN:
            parts.append(f"{column} {number}")
    return ", ".join(parts)


def clearest(clips: Sequence[np.ndarray]) -> np.ndarray:
    """The body whose joints can be told apart best, seen from the front.

    Of the bodies with the fewest joints missing, it is the one whose joints lie farthest from each
    other. A distance above CLEAR counts as CLEAR, or the body with the wildest error would win.

    Args:
        clips: coordinates [T, M, V, 3] of each.

    Returns:
        One body of one frame, [V, 3].
    """
    bodies = np.concatenate([clip.reshape(-1, *clip.shape[2:]) for clip in clips])
    joints_seen = (bodies != 0).any(-1).sum(1)
    bodies = bodies[joints_seen == joints_seen.max()]
    front = bodies[..., :2]
    distance = np.linalg.norm(front[:, :, None] - front[:, None, :], axis=-1)  # [N, V, V]
    distance[:, np.eye(bodies.shape[1], dtype=bool)] = np.inf  # no joint is its own neighbour
    nearest = distance.min(-1)
    return bodies[np.minimum(nearest, CLEAR).sum(1).argmax()]
