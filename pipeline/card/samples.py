"""Choosing the clips that a data card shows, and their titles."""

from collections.abc import Sequence

import numpy as np

from pipeline.card.contents import class_name
from pipeline.store.index import StoreIndex
from pipeline.store.manifest import UNKNOWN
from pipeline.store.samples import choose_clips, longer_half

# Animations on a page: enough to see a pattern, and few enough to load quickly.
SAMPLES = 6
# So many of them show several persons, if the store has such clips.
CROWDED_SAMPLES = 2
# In metres. The names beside two joints at this distance do not overlap in the figure.
CLEAR = 0.08


def choose(index: StoreIndex, seed: int) -> np.ndarray:
    """Choose SAMPLES clips at random from the longer half of a store.

    Their classes are different as far as possible. CROWDED_SAMPLES of them show several persons, if
    the store has such clips.

    Args:
        index: the index of the store.
        seed: decides the choice.

    Returns:
        The ids of the clips.
    """
    candidates = np.random.default_rng(seed).permutation(longer_half(index))
    return choose_clips(index, candidates, SAMPLES, CROWDED_SAMPLES)


def title(index: StoreIndex, row: int, classes: Sequence[str]) -> str:
    """Return the title of a clip: its class, its name, and its subject and camera if known."""
    parts = [f"{class_name(int(index.label[row]), classes)}: {index.clip_id[row]}"]
    for column in ("subject", "camera"):
        number = getattr(index, column)[row]
        if number != UNKNOWN:
            parts.append(f"{column} {number}")
    return ", ".join(parts)


def clearest(clips: Sequence[np.ndarray]) -> np.ndarray:
    """Find the body whose joints are easiest to tell apart, seen from the front.

    Among the bodies with the fewest missing joints, it is the one with the largest distances
    between neighbouring joints. A distance above CLEAR counts as CLEAR, because otherwise a body
    with a large tracking error would win.

    Args:
        clips: coordinates [T, M, V, 3] of each clip.

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
