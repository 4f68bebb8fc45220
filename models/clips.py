"""Batches of clips of different lengths, and the temporal resize that turns them into views of one length.

Shapes: B clips, F frames of all clips together, T frames of a view, M persons, V joints.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag


@dataclass(eq=False)
class ClipBatch:
    """B clips laid end to end, without padding.

    frames: float32 [F, M, V, 3], metres. A joint (or person) that is not there is exactly zero.
    offsets: int64 [B + 1]; clip b is `frames[offsets[b]:offsets[b + 1]]`, at least one frame.
    ids: int64 [B], row number of the clip in its store: what its randomness hangs on.
    labels: int64 [B], -1 where unknown. Pretraining never reads them.
    other: B clips of the same performances from other cameras, if such pairs were asked for; clip b beside clip b.

    Raises ValueError for wrong shapes or types, and for offsets that do not cut the frames into clips of at least one
    frame (the latter only on the CPU: looking at offsets elsewhere makes the host wait for the device).
    """

    frames: Tensor
    offsets: Tensor
    ids: Tensor
    labels: Tensor
    other: ClipBatch | None = None

    def __post_init__(self) -> None:
        if (
            self.frames.dtype != torch.float32
            or self.frames.dim() != 4
            or self.frames.shape[-1] != 3
        ):
            raise ValueError(
                f"frames must be float32 [F, M, V, 3], got {self.frames.dtype} {list(self.frames.shape)}"
            )
        for name in ("offsets", "ids", "labels"):
            value = getattr(self, name)
            if value.dtype != torch.int64 or value.dim() != 1:
                raise ValueError(
                    f"{name} must be int64 with one dimension, got {value.dtype} {list(value.shape)}"
                )
        if not len(self.offsets) - 1 == len(self.ids) == len(self.labels) > 0:
            raise ValueError(
                f"a batch of B >= 1 clips has B + 1 offsets, B ids and B labels, "
                f"got {len(self.offsets)}, {len(self.ids)} and {len(self.labels)}"
            )
        if self.other is not None and len(self.other) != len(self):
            raise ValueError(
                f"other must hold a clip for each of {len(self)}, got {len(self.other)}"
            )
        if self.offsets.device.type == "cpu":
            if self.offsets[0] != 0 or self.offsets[-1] != len(self.frames):
                raise ValueError(
                    f"offsets must run from 0 to the number of frames, {len(self.frames)}, "
                    f"got {int(self.offsets[0])} to {int(self.offsets[-1])}"
                )
            if bool((self.lengths < 1).any()):
                raise ValueError(f"clip {int(self.ids[self.lengths < 1][0])} has no frames")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> Tensor:
        """Number of frames of each clip, int64 [B]."""
        return self.offsets.diff()

    @property
    def clip_of_frame(self) -> Tensor:
        """Position in the batch of the clip that each frame belongs to, int64 [F]."""
        clips = torch.arange(len(self), device=self.offsets.device)
        return torch.repeat_interleave(clips, self.lengths, output_size=len(self.frames))

    def to(self, device: torch.device | str, non_blocking: bool = False) -> ClipBatch:
        """The same batch on `device`."""
        moved = (
            x.to(device, non_blocking=non_blocking)
            for x in (self.frames, self.offsets, self.ids, self.labels)
        )
        return ClipBatch(
            *moved, other=self.other.to(device, non_blocking) if self.other is not None else None
        )


def resample(clips: ClipBatch, start: Tensor, span: Tensor, frames: int) -> Tensor:
    """Resizes the part [start, start + span) of each clip to `frames` frames, linearly in time.

    For whole numbers this is `torch.nn.functional.interpolate(part, frames, mode="linear", align_corners=False)`, the
    resize of UmURL: view frame t lies at (t + 1/2) * span / T - 1/2 of the part, held inside its first and last frame.

    start, span: [B], in frames, any real or integer type, 0 <= start, 1 <= span, start + span <= length.
    Returns float32 [B, T, M, V, 3].
    """
    if frames < 1:
        raise ValueError(f"frames must be at least 1, got {frames}")
    start, span = start.double()[:, None], span.double()[:, None]
    position = (torch.arange(frames, device=start.device, dtype=torch.float64) + 0.5) * (
        span / frames
    ) - 0.5
    position = start + torch.minimum(position.clamp(min=0), span - 1)
    before = position.floor()
    # At a clip's last frame the weight of the frame after it is 0, but the index must not leave the clip.
    after = torch.minimum(before.long() + 1, clips.lengths[:, None] - 1)
    first = clips.offsets[:-1, None]
    rows = torch.stack([first + before.long(), first + after], dim=-1).view(-1, 2)
    weight = (position - before).float().view(-1)
    weights = torch.stack([1 - weight, weight], dim=-1)
    # Two gathers and a weighted sum in one pass: no temporaries of the views' size, several times as fast on a CPU.
    views = embedding_bag(rows, clips.frames.flatten(1), mode="sum", per_sample_weights=weights)
    return views.view(len(clips), frames, *clips.frames.shape[1:])


def whole(clips: ClipBatch, frames: int) -> Tensor:
    """Every clip from first to last frame, resized to `frames` frames: what evaluation sees. [B, T, M, V, 3]."""
    return resample(clips, torch.zeros_like(clips.ids), clips.lengths, frames)
