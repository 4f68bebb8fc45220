"""What a card knows of each clip, computed from the coordinates of a block of clips.

Whole-array code without files and without Ray. Shapes: B clips, F frames of all of them end to
end, M persons, V joints, K = V - 1 bones. A joint that is exactly zero is missing. A person with
all joints missing is not in the frame. Missing joints and persons are in no length, step or angle.

The columns, a row for each clip:

- frames [B]: the number of frames.
- persons [B]: the persons who are in any frame.
- empty_frames [B]: frames that nobody is in.
- bodies [B]: persons, counted in every frame that they are in.
- missing [B, V]: bodies that lack this joint.
- short, length, long [B, M, K]: the QUANTILES of each bone's lengths in metres (of two
  middle ones the smaller), NaN where the bone was never seen.
- step [B]: the longest way of any joint from one frame to the next, metres.
- step_frame, step_person, step_joint [B]: the first frame that `step` leads to, and whose
  joint it is.
- body_step [B]: the longest way that the median joint of a person goes, metres. Missing
  joints count as standing still.
- extent [B]: the longest diagonal of a box that holds one joint over the whole clip,
  metres.
- upright [B]: y of the direction from the ankles to the head: 1 standing, 0 lying, -1
  upside down. The mean over the frames, of the person with the lowest; NaN without these
  joints.
- toes [B]: cosine between where the toes point and where spine and shoulders say that the
  front is, averaged likewise. Negative where left and right are swapped or an axis is
  mirrored.
- standing [B, 3], size [B], thinnest [B]: which way the first person stands, and how large and
  how flat it is, see `pipeline.store.bodies`. Every layout has these.
- digest [B]: a hash of the coordinates, equal for exact copies.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from models.skeleton import SkeletonLayout
from pipeline.store.bodies import Landmarks, measure_bodies
from pipeline.store.copies import digests

# One array for each statistic, a row for each clip; see `statistics`.
Columns = Mapping[str, np.ndarray]

# Of a bone's lengths over a clip: what 90 % of the frames lie between, and the middle. One bad
# frame in twenty does not show.
QUANTILES = (0.05, 0.5, 0.95)

# The joints that tell whether a body stands on its feet and which way it faces. A layout without
# these names leaves both open.
HEAD = "head"
ANKLES = ("left_ankle", "right_ankle")
FEET = ("left_foot", "right_foot")


def statistics(
    frames: np.ndarray, offsets: np.ndarray, layout: SkeletonLayout
) -> dict[str, np.ndarray]:
    """Describe clips.

    Args:
        frames: float32 [F, M, V, 3], metres.
        offsets: int64 [B + 1], clip b is `frames[offsets[b]:offsets[b + 1]]`, at least one frame.
        layout: of the joints.

    Returns:
        The columns that the head of this module lists, a row for each clip.
    """
    starts = offsets[:-1]
    present = (frames != 0).any(-1)  # [F, M, V]
    in_frame = present.any(-1)  # [F, M]
    short, length, long = quantiles(_lengths(frames, present, layout), offsets, QUANTILES)
    clips = [frames[start:stop] for start, stop in pairwise(offsets)]
    lacking = (in_frame[..., None] & ~present).sum(1)
    return {
        "frames": np.diff(offsets),
        "persons": np.logical_or.reduceat(in_frame, starts).sum(1),
        "empty_frames": np.add.reduceat(~in_frame.any(1), starts, dtype=np.int64),
        "bodies": np.add.reduceat(in_frame.sum(1), starts),
        "missing": np.add.reduceat(lacking, starts),
        "short": short,
        "length": length,
        "long": long,
        **_steps(frames, present, offsets),
        "extent": _extent(frames, present, starts),
        **_postures(frames, present, offsets, layout),
        **measure_bodies(clips, Landmarks.of(layout)),
        "digest": digests(clip.tobytes() for clip in clips),
    }


def quantiles(values: np.ndarray, offsets: np.ndarray, at: Sequence[float]) -> np.ndarray:
    """Order statistics of every clip's values.

    Args:
        values: [F, ...], of all clips end to end; NaN is no value.
        offsets: [B + 1], see `statistics`.
        at: the quantiles, 0 to 1; between two values the lower one is taken.

    Returns:
        [len(at), B, ...], NaN where a clip has no value.
    """
    ordered = values.copy()
    for start, stop in pairwise(offsets):
        ordered[start:stop].sort(axis=0)  # NaN comes last
    count = np.add.reduceat(~np.isnan(values), offsets[:-1], dtype=np.int64)
    last = np.maximum(count - 1, 0)
    first = offsets[:-1].reshape(-1, *[1] * (values.ndim - 1))
    found = []
    for share in at:
        place = first + (share * last).astype(np.int64)
        found.append(np.take_along_axis(ordered, place, axis=0))
    return np.stack(found)


def _lengths(frames: np.ndarray, present: np.ndarray, layout: SkeletonLayout) -> np.ndarray:
    """Bone lengths in metres [F, M, K], NaN where one end is missing."""
    bones = np.array(layout.bones).reshape(-1, 2)
    joints = bones[:, 0]
    parents = bones[:, 1]
    length = np.linalg.norm(frames[:, :, joints] - frames[:, :, parents], axis=-1)
    both_ends = present[:, :, joints] & present[:, :, parents]
    return np.where(both_ends, length, np.float32(np.nan))


def _steps(frames: np.ndarray, present: np.ndarray, offsets: np.ndarray) -> dict[str, np.ndarray]:
    """The columns about the way from one frame to the next."""
    starts = offsets[:-1]
    step = np.zeros(present.shape, np.float32)  # [F, M, V]: to this frame from the one before it
    moved = np.linalg.norm(np.diff(frames, axis=0), axis=-1)
    step[1:] = np.where(present[1:] & present[:-1], moved, 0)
    step[starts] = 0  # the frame before belongs to another clip
    # Of each clip the first frame with its longest step.
    of_frame = step.max((1, 2))
    longest = np.maximum.reduceat(of_frame, starts)
    clip_of_frame = np.repeat(np.arange(len(starts)), np.diff(offsets))
    hits = np.flatnonzero(of_frame == longest[clip_of_frame])
    _, first_hit = np.unique(clip_of_frame[hits], return_index=True)
    at = hits[first_hit]
    person, joint = np.divmod(step[at].reshape(len(at), -1).argmax(1), frames.shape[2])
    return {
        "step": longest,
        "step_frame": at - starts,
        "step_person": person,
        "step_joint": joint,
        "body_step": np.maximum.reduceat(np.median(step, axis=2).max(1), starts),
    }


def _extent(frames: np.ndarray, present: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The column `extent`; 0 for a clip without any joint."""
    seen = present[..., None]
    low = np.minimum.reduceat(np.where(seen, frames, np.inf), starts)
    high = np.maximum.reduceat(np.where(seen, frames, -np.inf), starts)
    # A joint that was never seen has low = inf and high = -inf.
    size = np.where(low <= high, high - low, 0)
    return np.linalg.norm(size, axis=-1).max((1, 2))


def _postures(
    frames: np.ndarray, present: np.ndarray, offsets: np.ndarray, layout: SkeletonLayout
) -> dict[str, np.ndarray]:
    """The columns `upright` and `toes`."""
    number = {name: joint for joint, name in enumerate(layout.joints)}
    if not {HEAD, *ANKLES, *FEET} <= number.keys():
        unknown = np.full(len(offsets) - 1, np.nan, np.float32)
        return {"upright": unknown, "toes": unknown.copy()}
    head = number[HEAD]
    ankles = [number[name] for name in ANKLES]
    feet = [number[name] for name in FEET]
    shoulders = [layout.left_shoulder, layout.right_shoulder]

    up = _unit(frames[:, :, head] - frames[:, :, ankles].mean(2))
    up_known = np.all(present[:, :, [head, *ankles]], axis=2)

    # The front is at right angles to the spine and to the line from left to right shoulder.
    spine = frames[:, :, shoulders].mean(2) - frames[:, :, layout.centre]
    across = frames[:, :, shoulders[1]] - frames[:, :, shoulders[0]]
    front = _unit(np.cross(spine, across))
    toes = _unit((frames[:, :, feet] - frames[:, :, ankles]).sum(2))
    toes_known = np.all(present[:, :, [*ankles, *feet, *shoulders, layout.centre]], axis=2)
    return {
        "upright": _lowest_mean(up[..., 1], up_known, offsets),
        "toes": _lowest_mean((toes * front).sum(-1), toes_known, offsets),
    }


def _lowest_mean(values: np.ndarray, known: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Of each clip the lowest of its persons' means, [F, M] -> [B].

    A mean is over the frames where the value is known; NaN where it is known of nobody.
    """
    total = np.add.reduceat(np.where(known, values, 0), offsets[:-1])
    count = np.add.reduceat(known, offsets[:-1], dtype=np.int64)
    means = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return np.fmin.reduce(means, axis=1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors [..., 3] of length one; a vector of zeros stays one."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
