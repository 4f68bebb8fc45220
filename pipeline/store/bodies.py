r"""How bodies lie in the coordinates of a store: which way they stand, how large they are.

It uses what every skeleton layout has: the shoulders, and the tree of bones. The feet are the
joints that are farthest from the shoulders along the bones, and the direction from the feet to the
shoulders says which way is up:

    shoulders  o-+-o        hand: 0.6 m from its shoulder along the bones
               |   |        head: 0.4 m
               +-+-+        foot: 1.4 m, far more than any other joint
                / \
               o   o

Whole-array code without files and without Ray. Shapes: B clips, K frames of a clip, V joints.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from models.skeleton import SkeletonLayout

# A joint and its parent.
Bone = tuple[int, int]
# The bones between two joints, with their lengths.
Way = dict[Bone, float]

# So many frames of a clip are measured, spread evenly over those that show the first person.
FRAMES = 16
# The feet are this much farther from the shoulders than the end of any other limb. Of a layout
# without legs the hands are farthest, and hands point anywhere.
FARTHER = 1.4
# A body without half of its joints has no size.
JOINTS_SEEN = 0.5


@dataclass(frozen=True)
class Landmarks:
    """What the measurements need of a layout. It can be pickled, and does not need torch.

    Attributes:
        joints: V.
        shoulders: left and right.
        bones: (joint, its parent).
        partner: for each joint the one on the other side of the body, or itself.
    """

    joints: int
    shoulders: tuple[int, int]
    bones: tuple[Bone, ...]
    partner: tuple[int, ...]

    @classmethod
    def of(cls, layout: SkeletonLayout) -> Landmarks:
        """Return the landmarks of a layout."""
        return cls(
            joints=layout.num_joints,
            shoulders=(layout.left_shoulder, layout.right_shoulder),
            bones=layout.bones,
            partner=layout.mirror_permutation,
        )


def measure_bodies(clips: Iterable[np.ndarray], landmarks: Landmarks) -> dict[str, np.ndarray]:
    """Measure the first person of some clips.

    Args:
        clips: B arrays [T, M, V, 3]. A joint that is exactly zero is missing.
        landmarks: of the skeleton layout.

    Returns:
        standing: float32 [B, 3], the mean direction from the feet to the shoulders. Its length is 1
            if the body never leans, and less if it does. NaN where they are not seen, or nothing
            tells the feet from the hands.
        size: float32 [B], the diagonal of the box that holds the body, the median over the frames.
            NaN where fewer than half of the joints are seen.
        thinnest: float32 [B], the shortest side of that box over its diagonal: 0 for a flat body.
    """
    samples = [_sample(clip) for clip in clips]
    if not samples:
        empty = np.empty(0, np.float32)
        return {"standing": np.empty((0, 3), np.float32), "size": empty, "thinnest": empty.copy()}
    bodies = np.stack(samples)  # [B, K, V, 3]
    seen = (bodies != 0).any(-1)  # [B, K, V]
    size, thinnest = _boxes(bodies, seen)
    return {
        "standing": _standing(bodies, seen, landmarks),
        "size": size,
        "thinnest": thinnest,
    }


def _sample(clip: np.ndarray) -> np.ndarray:
    """Return FRAMES frames of the first person, [K, V, 3]. A frame may come more than once."""
    person = clip[:, 0]
    shown = np.flatnonzero(person.any((1, 2)))
    if not len(shown):
        return np.zeros((FRAMES, *person.shape[1:]), np.float32)
    at = np.linspace(0, len(shown) - 1, FRAMES).round().astype(np.int64)
    return person[shown[at]]


def _boxes(bodies: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return `size` and `thinnest` of `measure_bodies`."""
    there = seen[..., None]
    low = np.where(there, bodies, np.inf).min(2)
    high = np.where(there, bodies, -np.inf).max(2)
    enough = seen.mean(2) >= JOINTS_SEEN  # [B, K]
    sides = np.where(enough[..., None], high - low, 0)  # [B, K, 3]
    diagonal = np.linalg.norm(sides, axis=-1)
    share = sides.min(-1) / np.where(diagonal > 0, diagonal, 1)
    known = enough & (diagonal > 0)
    return _median(diagonal, known), _median(share, known)


def _standing(bodies: np.ndarray, seen: np.ndarray, landmarks: Landmarks) -> np.ndarray:
    """Return `standing` of `measure_bodies`."""
    unknown = np.full((len(bodies), 3), np.nan, np.float32)
    feet = _feet(_bone_lengths(bodies, seen, landmarks.bones), landmarks)
    if feet is None:
        return unknown
    ends = [*landmarks.shoulders, *feet]
    known = np.all(seen[:, :, ends], axis=2)  # [B, K]
    upper = bodies[:, :, list(landmarks.shoulders)].mean(2)
    lower = bodies[:, :, list(feet)].mean(2)
    up = upper - lower
    length = np.linalg.norm(up, axis=-1, keepdims=True)
    up = np.where(known[..., None], up / np.where(length > 0, length, 1), 0)
    frames = known.sum(1)[:, None]
    return np.where(frames > 0, up.sum(1) / np.maximum(frames, 1), unknown).astype(np.float32)


def _bone_lengths(bodies: np.ndarray, seen: np.ndarray, bones: Sequence[Bone]) -> list[float]:
    """Return the median length of each bone, 0 for one that was never seen."""
    lengths = []
    for joint, parent in bones:
        both = seen[:, :, joint] & seen[:, :, parent]
        length = np.linalg.norm(bodies[:, :, joint] - bodies[:, :, parent], axis=-1)[both]
        median = 0.0
        if len(length):
            median = float(np.median(length))
        lengths.append(median)
    return lengths


def _feet(lengths: Sequence[float], landmarks: Landmarks) -> tuple[int, ...] | None:
    """Return the joints that are farthest from the shoulders along the bones.

    None if the end of another limb is about as far.
    """
    ways = [_ways(shoulder, lengths, landmarks) for shoulder in landmarks.shoulders]
    # Of each joint the way from the nearer shoulder.
    way_to = []
    for from_shoulders in zip(*ways, strict=True):
        way_to.append(min(from_shoulders, key=_total))
    far = max(range(landmarks.joints), key=lambda joint: _total(way_to[joint]))
    feet = tuple(sorted({far, landmarks.partner[far]}))
    legs = way_to[feet[0]].keys() | way_to[feet[-1]].keys()
    for way in way_to:
        along_legs = sum(length for bone, length in way.items() if bone in legs)
        is_another_limb = along_legs < _total(way) / 2
        if is_another_limb and FARTHER * _total(way) > _total(way_to[far]):
            return None
    return feet


def _ways(start: int, lengths: Sequence[float], landmarks: Landmarks) -> list[Way]:
    """Return the way from a joint to every other."""
    neighbours: list[list[tuple[int, Bone, float]]] = [[] for _ in range(landmarks.joints)]
    for bone, length in zip(landmarks.bones, lengths, strict=True):
        joint, parent = bone
        neighbours[joint].append((parent, bone, length))
        neighbours[parent].append((joint, bone, length))
    ways: list[Way] = [{} for _ in range(landmarks.joints)]
    reached = {start}
    todo = [start]
    while todo:
        joint = todo.pop()
        for other, bone, length in neighbours[joint]:
            if other not in reached:
                reached.add(other)
                ways[other] = ways[joint] | {bone: length}
                todo.append(other)
    return ways


def _total(way: Way) -> float:
    return sum(way.values())


def _median(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the median over the frames that are known, float32 [B], NaN where none is."""
    ordered = np.sort(np.where(known, values, np.inf), axis=1)  # the unknown ones come last
    count = known.sum(1)
    middle = np.maximum(count - 1, 0) // 2
    found = np.take_along_axis(ordered, middle[:, None], axis=1)[:, 0]
    return np.where(count > 0, found, np.nan).astype(np.float32)
