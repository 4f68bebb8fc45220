"""Where a clip stands and which way it faces: centring and shoulder alignment of whole ragged batches.

Two recipes are made of these: UmURL's (the AGCN preparation) is centre "frame" with align "first_frame"; the NW-UCLA
recipe is centre "first" with align "mean_yaw".
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.clips import ClipBatch
from models.geometry import rotation_to_x, transform, yaw
from models.skeleton import SkeletonLayout

CENTRES = ("none", "first", "frame")
ALIGNMENTS = ("none", "first_frame", "mean_yaw")
_SHORTEST = 1e-6  # metres; a shoulder line below this has no direction


def normalise(clips: ClipBatch, layout: SkeletonLayout, centre: str, align: str) -> ClipBatch:
    """Moves and turns each clip as one body, by its main person (index 0). What is exactly zero (not there) stays zero.

    centre: "frame" takes the main person's centre joint to the origin in every frame; "first" moves the whole clip by
        the centre joint's place in the first frame that has it. Where the centre joint is missing nothing moves.
    align: "first_frame" is the smallest rotation that takes (right - left shoulder) of frame 0 to +x; "mean_yaw" the
        rotation about the vertical y that takes the mean over time of (left - right shoulder) to +x in the horizontal
        plane, over the frames that have both. Where the shoulders are missing or coincide nothing turns.

    Returns a new batch with frames [F, M, V, 3]; the given one is left as it is.
    Raises ValueError for an unknown mode or frames of another number of joints.
    """
    if centre not in CENTRES:
        raise ValueError(f"centre must be one of {', '.join(CENTRES)}, got {centre}")
    if align not in ALIGNMENTS:
        raise ValueError(f"align must be one of {', '.join(ALIGNMENTS)}, got {align}")
    if clips.frames.shape[2] != layout.num_joints:
        raise ValueError(
            f"clips have {clips.frames.shape[2]} joints, skeleton {layout.name} has {layout.num_joints}"
        )
    frames = clips.frames
    if centre != "none":
        origin = (
            frames[:, 0, layout.centre]
            if centre == "frame"
            else _first_centre(clips, layout)[clips.clip_of_frame]
        )
        frames = (frames - origin[:, None, None]).masked_fill_(~_present(frames)[..., None], 0.0)
    if align != "none":
        rotation = (
            _first_frame_rotation(clips, layout)
            if align == "first_frame"
            else _mean_yaw(clips, layout)
        )
        frames = transform(frames, rotation.float()[clips.clip_of_frame][:, None, None])
    return ClipBatch(frames, clips.offsets, clips.ids, clips.labels)


def _present(points: Tensor) -> Tensor:
    """[..., 3] -> bool [...]: not exactly zero. (`any` over the last dimension is several times slower.)"""
    return (points[..., 0] != 0) | (points[..., 1] != 0) | (points[..., 2] != 0)


def _first_centre(clips: ClipBatch, layout: SkeletonLayout) -> Tensor:
    """Centre joint of the main person in the first frame that has it, zero where none has. [B, 3]."""
    joint = clips.frames[:, 0, layout.centre]
    total = len(joint)
    # float64 because segment_reduce takes no integers; frame numbers are far below 2**53.
    number = torch.arange(total, device=joint.device, dtype=torch.float64).masked_fill(
        ~_present(joint), total
    )
    first = torch.segment_reduce(number, "min", offsets=clips.offsets).long()
    return torch.cat([joint, joint.new_zeros(1, 3)])[first]


def _shoulder_line(person: Tensor, layout: SkeletonLayout) -> Tensor:
    """Left - right shoulder of [..., V, 3], zero where one of them is missing. float64 [..., 3]."""
    left, right = person[..., layout.left_shoulder, :], person[..., layout.right_shoulder, :]
    both = _present(left) & _present(right)
    return torch.where(both[..., None], left.double() - right.double(), 0.0)


def _first_frame_rotation(clips: ClipBatch, layout: SkeletonLayout) -> Tensor:
    """[B, 3, 3]"""
    line = -_shoulder_line(clips.frames[clips.offsets[:-1], 0], layout)
    length = torch.linalg.vector_norm(line, dim=-1, keepdim=True)
    ahead = line.new_tensor([1.0, 0.0, 0.0])
    return rotation_to_x(torch.where(length > _SHORTEST, line / length.clamp(min=_SHORTEST), ahead))


def _mean_yaw(clips: ClipBatch, layout: SkeletonLayout) -> Tensor:
    """[B, 3, 3]. The sum of the lines points where their mean does."""
    line = torch.segment_reduce(
        _shoulder_line(clips.frames[:, 0], layout), "sum", offsets=clips.offsets, axis=0
    )
    x, z = line[:, 0], line[:, 2]
    length = torch.hypot(x, z)
    known = length > _SHORTEST
    length = length.clamp(min=_SHORTEST)
    return yaw(torch.where(known, x / length, 1.0), torch.where(known, z / length, 0.0))
