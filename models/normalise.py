"""Normalisation of clips: move each body to the origin, and turn it to face one way.

UmURL's recipe (the AGCN preparation) is centre "frame" with align "first_frame". The NW-UCLA recipe
is centre "first" with align "mean_yaw". Shapes: B clips, F frames of all clips together, M persons,
V joints.

y must point up: "mean_yaw" turns about it. Ingest makes it so (`data.coordinates`). Of clips with
another axis up it would turn many upside down, because it would turn them about a horizontal line.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.choices import ALIGNS, CENTRES, require_choice
from models.clips import ClipBatch
from models.geometry import rotation_to_x, transform, yaw
from models.skeleton import SkeletonLayout

# A shoulder line that is shorter than this, in metres, has no direction.
_SHORTEST = 1e-6


def normalise(clips: ClipBatch, layout: SkeletonLayout, centre: str, align: str) -> ClipBatch:
    """Move and turn each clip as one body, by its main person (index 0).

    A missing joint, which is exactly zero, stays zero.

    Args:
        clips: B clips; they are left as they are.
        layout: the skeleton, which knows the centre joint and the shoulders.
        centre: "frame" moves the main person's centre joint to the origin in every frame; "first"
            moves the whole clip by the place of the centre joint in the first frame that has it;
            "none" moves nothing. Where the centre joint is missing nothing moves.
        align: "first_frame" turns by the smallest rotation that takes (right - left shoulder) of
            frame 0 to +x. "mean_yaw" turns about the vertical y so that the mean over time of
            (left - right shoulder), over the frames that have both, points to +x in the horizontal
            plane. "none" turns nothing. Where the shoulders are missing or coincide nothing turns.

    Returns:
        A new batch, with frames [F, M, V, 3].

    Raises:
        ValueError: A mode is unknown, or the clips have another number of joints.
    """
    require_choice("centre", centre, CENTRES)
    require_choice("align", align, ALIGNS)
    if clips.frames.shape[2] != layout.num_joints:
        raise ValueError(
            f"clips have {clips.frames.shape[2]} joints, "
            f"skeleton {layout.name} has {layout.num_joints}"
        )
    frames = clips.frames
    if centre != "none":
        origin_F3 = _origins(clips, layout, centre)
        moved = frames - origin_F3[:, None, None]
        frames = moved.masked_fill_(~_present(frames)[..., None], 0.0)
    if align != "none":
        rotation_B33 = _rotations(clips, layout, align).float()
        rotation_F33 = rotation_B33[clips.clip_of_frame]
        frames = transform(frames, rotation_F33[:, None, None])
    return ClipBatch(frames, clips.offsets, clips.ids, clips.labels)


def _origins(clips: ClipBatch, layout: SkeletonLayout, centre: str) -> Tensor:
    """What moves to the origin, for each frame: [F, 3]."""
    if centre == "frame":
        return clips.frames[:, 0, layout.centre]
    return _first_centre(clips, layout)[clips.clip_of_frame]


def _rotations(clips: ClipBatch, layout: SkeletonLayout, align: str) -> Tensor:
    """How each clip is turned: float64 [B, 3, 3]."""
    if align == "first_frame":
        return _first_frame_rotation(clips, layout)
    return _mean_yaw(clips, layout)


def _present(points: Tensor) -> Tensor:
    """Which points [..., 3] are not exactly zero, bool [...].

    `any` over the last dimension is several times slower.
    """
    return (points[..., 0] != 0) | (points[..., 1] != 0) | (points[..., 2] != 0)


def _first_centre(clips: ClipBatch, layout: SkeletonLayout) -> Tensor:
    """The main person's centre joint in the first frame that has it, zero where none has: [B, 3].

    Frames without the joint get the number F, so that the least number of a clip is its first frame
    with the joint, or F where there is none. Row F, behind the frames, holds the zero:

        frame     0  1  2 | 3  4 |           clips of 3 and 2 frames, F = 5
        has it    -  x  x | -  - |
        number    5  1  2 | 5  5 |   least: 1 and 5
    """
    joint_F3 = clips.frames[:, 0, layout.centre]
    total = len(joint_F3)
    # float64 because segment_reduce takes no integers; frame numbers are far below 2**53.
    number_F = torch.arange(total, device=joint_F3.device, dtype=torch.float64)
    number_F = number_F.masked_fill(~_present(joint_F3), total)
    first_B = torch.segment_reduce(number_F, "min", offsets=clips.offsets).long()
    return torch.cat([joint_F3, joint_F3.new_zeros(1, 3)])[first_B]


def _shoulder_line(person: Tensor, layout: SkeletonLayout) -> Tensor:
    """Left - right shoulder of [..., V, 3], zero where one of them is missing. float64 [..., 3]."""
    left = person[..., layout.left_shoulder, :]
    right = person[..., layout.right_shoulder, :]
    both = _present(left) & _present(right)
    return torch.where(both[..., None], left.double() - right.double(), 0.0)


def _first_frame_rotation(clips: ClipBatch, layout: SkeletonLayout) -> Tensor:
    """The smallest rotation that takes (right - left shoulder) of frame 0 to +x: [B, 3, 3]."""
    line_B3 = -_shoulder_line(clips.frames[clips.offsets[:-1], 0], layout)
    length = torch.linalg.vector_norm(line_B3, dim=-1, keepdim=True)
    # A clip without a line counts as one that faces ahead already.
    ahead = line_B3.new_tensor([1.0, 0.0, 0.0])
    direction = line_B3 / length.clamp(min=_SHORTEST)
    return rotation_to_x(torch.where(length > _SHORTEST, direction, ahead))


def _mean_yaw(clips: ClipBatch, layout: SkeletonLayout) -> Tensor:
    """The rotation about y that takes the mean of (left - right shoulder) to +x: [B, 3, 3].

    The sum of the lines points where their mean does.
    """
    line_F3 = _shoulder_line(clips.frames[:, 0], layout)
    line_B3 = torch.segment_reduce(line_F3, "sum", offsets=clips.offsets, axis=0)
    x = line_B3[:, 0]
    z = line_B3[:, 2]
    length = torch.hypot(x, z)
    known = length > _SHORTEST
    length = length.clamp(min=_SHORTEST)
    cosine = torch.where(known, x / length, 1.0)
    sine = torch.where(known, z / length, 0.0)
    return yaw(cosine, sine)
