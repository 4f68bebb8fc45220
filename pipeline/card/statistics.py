"""What a card knows of each clip, from the coordinates of a block of clips. Whole arrays; no files, no Ray.

Shapes: B clips, F frames of all of them end to end, M persons, V joints. A joint that is exactly zero is missing; a
person without any joint in a frame is not there; such joints and persons are in no length, step or angle.
"""

import hashlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from models.skeleton import SkeletonLayout

# Of the lengths of a bone over a clip: what is shortest and longest in 90 % of it, one bad frame in twenty left aside.
QUANTILES = (0.05, 0.5, 0.95)
# What decides whether a body stands on its feet, and which way it faces; a layout without these joints leaves it open.
HEAD, ANKLES, FEET = "head", ("left_ankle", "right_ankle"), ("left_foot", "right_foot")


def bones(layout: SkeletonLayout) -> list[tuple[int, int]]:
    """(joint, its parent) of every bone, V - 1 in all, in the order of the joints."""
    return [(joint, parent) for joint, parent in enumerate(layout.parents) if joint != parent]


def statistics(
    frames: np.ndarray, offsets: np.ndarray, layout: SkeletonLayout
) -> dict[str, np.ndarray]:
    """Describe clips.

    Args:
        frames: float32 [F, M, V, 3], metres.
        offsets: int64 [B + 1], clip b is `frames[offsets[b]:offsets[b + 1]]`, at least one frame.
        layout: of the joints.

    Returns:
        One row a clip in each of

        - frames, persons [B]: frames; persons who are ever there.
        - empty_frames [B]: frames that nobody is in.
        - bodies [B]: persons counted in every frame that they are in.
        - missing [B, V]: bodies that lack this joint.
        - short, length, long [B, M, V - 1]: of each bone's lengths in metres the QUANTILES (the smaller of two middle
          ones), NaN where it was never seen.
        - step [B]: the longest way of any joint from one frame to the next, metres; step_frame, step_person,
          step_joint [B]: the (first) frame that it leads to, and whose it is.
        - body_step [B]: the longest way that the median joint of a person goes (missing joints stand still).
        - extent [B]: the longest diagonal of a box that holds one joint over the whole clip, metres.
        - upright [B]: y of the direction from the ankles to the head, 1 standing, 0 lying, -1 upside down; the mean
          over the frames, of the person with the lowest; NaN without these joints.
        - toes [B]: cosine between where the toes point and where spine and shoulders say that the front is, likewise;
          negative where left and right are swapped or an axis is mirrored.
        - digest [B]: a hash of the coordinates, as text.
    """
    starts, lengths = offsets[:-1], np.diff(offsets)
    there = (frames != 0).any(-1)
    body = there.any(-1)
    length = _lengths(frames, there, bones(layout))
    short, middle, long = quantiles(length, offsets, QUANTILES)
    return {
        "frames": lengths,
        "persons": np.logical_or.reduceat(body, starts).sum(1),
        "empty_frames": np.add.reduceat(~body.any(1), starts, dtype=np.int64),
        "bodies": np.add.reduceat(body.sum(1), starts),
        "missing": np.add.reduceat((body[..., None] & ~there).sum(1), starts),
        "short": short,
        "length": middle,
        "long": long,
        **_steps(frames, there, offsets),
        "extent": _extent(frames, there, starts),
        **_postures(frames, there, offsets, layout),
        "digest": np.array(
            [
                hashlib.blake2b(frames[a:b].tobytes(), digest_size=16).hexdigest()
                for a, b in pairwise(offsets)
            ]
        ),
    }


def quantiles(values: np.ndarray, offsets: np.ndarray, at: Sequence[float]) -> np.ndarray:
    """Return [len(at), B, ...]: order statistics of every clip's values [F, ...], NaN left out (the lower of two)."""
    ordered = values.copy()
    for start, stop in pairwise(offsets):
        ordered[start:stop].sort(axis=0)  # NaN comes last
    count = np.add.reduceat(~np.isnan(values), offsets[:-1], dtype=np.int64)
    places = [(share * np.maximum(count - 1, 0)).astype(np.int64) for share in at]
    first = offsets[:-1].reshape(-1, *[1] * (values.ndim - 1))
    return np.stack([np.take_along_axis(ordered, first + place, axis=0) for place in places])


def _lengths(frames: np.ndarray, there: np.ndarray, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """[F, M, V - 1], NaN where one end is missing."""
    joints, parents = np.array(pairs).reshape(-1, 2).T
    length = np.linalg.norm(frames[:, :, joints] - frames[:, :, parents], axis=-1)
    return np.where(there[:, :, joints] & there[:, :, parents], length, np.float32(np.nan))


def _steps(frames: np.ndarray, there: np.ndarray, offsets: np.ndarray) -> dict[str, np.ndarray]:
    starts, lengths = offsets[:-1], np.diff(offsets)
    step = np.zeros(there.shape, np.float32)  # [F, M, V]: to this frame from the one before it
    step[1:] = np.where(there[1:] & there[:-1], np.linalg.norm(np.diff(frames, axis=0), axis=-1), 0)
    step[starts] = 0
    of_frame = step.max((1, 2))
    largest = np.maximum.reduceat(of_frame, starts)
    hits = np.flatnonzero(of_frame == np.repeat(largest, lengths))
    clip = np.repeat(np.arange(len(starts)), lengths)[hits]
    place = hits[np.unique(clip, return_index=True)[1]]
    person, joint = np.divmod(step[place].reshape(len(place), -1).argmax(1), step.shape[2])
    return {
        "step": largest,
        "step_frame": place - starts,
        "step_person": person,
        "step_joint": joint,
        "body_step": np.maximum.reduceat(np.median(step, axis=2).max(1), starts),
    }


def _extent(frames: np.ndarray, there: np.ndarray, starts: np.ndarray) -> np.ndarray:
    seen = there[..., None]
    low = np.minimum.reduceat(np.where(seen, frames, np.inf), starts)
    high = np.maximum.reduceat(np.where(seen, frames, -np.inf), starts)
    return np.linalg.norm(np.where(low <= high, high - low, 0), axis=-1).max((1, 2))


def _postures(
    frames: np.ndarray, there: np.ndarray, offsets: np.ndarray, layout: SkeletonLayout
) -> dict:
    number = {name: joint for joint, name in enumerate(layout.joints)}
    if not {HEAD, *ANKLES, *FEET} <= number.keys():
        return {name: np.full(len(offsets) - 1, np.nan, np.float32) for name in ("upright", "toes")}
    head, ankles, feet = (
        number[HEAD],
        [number[name] for name in ANKLES],
        [number[name] for name in FEET],
    )
    shoulders = [layout.left_shoulder, layout.right_shoulder]
    standing = _unit(frames[:, :, head] - frames[:, :, ankles].mean(2))[..., 1]
    spine = frames[:, :, shoulders].mean(2) - frames[:, :, layout.centre]
    across = frames[:, :, shoulders[1]] - frames[:, :, shoulders[0]]
    forward = (frames[:, :, feet] - frames[:, :, ankles]).sum(2)
    cosine = (_unit(forward) * _unit(np.cross(spine, across))).sum(-1)
    seen = {
        "upright": (standing, there[:, :, [head, *ankles]].all(2)),
        "toes": (cosine, there[:, :, [*ankles, *feet, *shoulders, layout.centre]].all(2)),
    }
    return {name: _lowest_mean(value, known, offsets) for name, (value, known) in seen.items()}


def _lowest_mean(values: np.ndarray, known: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """[F, M] -> [B]: each person's mean over the frames where it is known, of these the lowest; NaN if never known."""
    total = np.add.reduceat(np.where(known, values, 0), offsets[:-1])
    count = np.add.reduceat(known, offsets[:-1], dtype=np.int64)
    return np.fmin.reduce(np.where(count > 0, total / np.maximum(count, 1), np.nan), axis=1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
