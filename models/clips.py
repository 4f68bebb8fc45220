"""Batches of clips of different lengths, and the resize in time that makes views of one length.

Shapes: B clips, F frames of all clips together, T frames of a view, M persons, V joints.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag


@dataclass(eq=False)
class ClipBatch:
    """B clips, their frames one after another without padding.

    Three clips of 2, 1 and 3 frames:

        frames    a0 a1 b0 c0 c1 c2
        offsets   0     2  3        6

    Args:
        frames: float32 [F, M, V, 3], metres. A joint (or person) that is missing is exactly zero.
        offsets: int64 [B + 1]; clip b is `frames[offsets[b]:offsets[b + 1]]`, at least one frame.
        ids: int64 [B], row number of the clip in its store; its randomness depends on it.
        labels: int64 [B], -1 where unknown. No loss reads them: pretraining only says by them how
            pure its targets are.
        other: B clips of the same performances from other cameras, if such pairs were asked for;
            clip b shows what clip b here shows.
        performances: int64 [B], a number of the performance that the clip shows. Clips of several
            cameras share it; a clip whose performance is unknown shares its own with no clip. None
            where nobody asks.

    Raises:
        ValueError: Shapes or types are wrong, or the offsets do not cut the frames into clips of at
            least one frame. The offsets are checked on the CPU only, because a look at them
            elsewhere makes the host wait for the device.
    """

    frames: Tensor
    offsets: Tensor
    ids: Tensor
    labels: Tensor
    other: ClipBatch | None = None
    performances: Tensor | None = None

    def __post_init__(self) -> None:
        self._check_frames()
        self._check_vectors()
        if self.other is not None and len(self.other) != len(self):
            raise ValueError(
                f"other must hold a clip for each of {len(self)}, got {len(self.other)}"
            )
        if self.offsets.device.type == "cpu":
            self._check_offsets()

    def _check_frames(self) -> None:
        frames = self.frames
        if frames.dtype != torch.float32 or frames.dim() != 4 or frames.shape[-1] != 3:
            raise ValueError(
                f"frames must be float32 [F, M, V, 3], got {frames.dtype} {list(frames.shape)}"
            )

    def _check_vectors(self) -> None:
        vectors = {"offsets": self.offsets, "ids": self.ids, "labels": self.labels}
        if self.performances is not None:
            vectors["performances"] = self.performances
        for name, value in vectors.items():
            if value.dtype != torch.int64 or value.dim() != 1:
                raise ValueError(
                    f"{name} must be int64 with one dimension, "
                    f"got {value.dtype} {list(value.shape)}"
                )
        if not len(self.offsets) - 1 == len(self.ids) == len(self.labels) > 0:
            raise ValueError(
                f"a batch of B >= 1 clips has B + 1 offsets, B ids and B labels, "
                f"got {len(self.offsets)}, {len(self.ids)} and {len(self.labels)}"
            )
        if self.performances is not None and len(self.performances) != len(self):
            raise ValueError(
                f"a batch of {len(self)} clips has as many performances, "
                f"got {len(self.performances)}"
            )

    def _check_offsets(self) -> None:
        if self.offsets[0] != 0 or self.offsets[-1] != len(self.frames):
            raise ValueError(
                f"offsets must run from 0 to the number of frames, {len(self.frames)}, "
                f"got {int(self.offsets[0])} to {int(self.offsets[-1])}"
            )
        empty = self.lengths < 1
        if bool(empty.any()):
            raise ValueError(f"clip {int(self.ids[empty][0])} has no frames")

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
        """Return the same batch on `device`, with all that it has."""
        other = self.other
        if other is not None:
            other = other.to(device, non_blocking)
        performances = self.performances
        if performances is not None:
            performances = performances.to(device, non_blocking=non_blocking)
        return ClipBatch(
            frames=self.frames.to(device, non_blocking=non_blocking),
            offsets=self.offsets.to(device, non_blocking=non_blocking),
            ids=self.ids.to(device, non_blocking=non_blocking),
            labels=self.labels.to(device, non_blocking=non_blocking),
            other=other,
            performances=performances,
        )


def resample(clips: ClipBatch, start: Tensor, span: Tensor, frames: int) -> Tensor:
    """Resize the part [start, start + span) of each clip to `frames` frames, linearly in time.

    For whole numbers this is the resize of UmURL,
    `torch.nn.functional.interpolate(part, frames, mode="linear", align_corners=False)`: view frame
    t lies at (t + 1/2) * span / T - 1/2 of the part, held inside its first and last frame. The
    whole of a clip of 4 frames, resized to 2 and to 8:

        clip      0       1       2       3
        T = 2         x               x            positions 0.5 and 2.5
        T = 8     x x   x   x   x   x   x x        0 (held), 0.25, 0.75, ..., 2.75, 3 (held)

    Args:
        clips: B clips.
        start: [B], in frames, any real or integer type, at least 0.
        span: [B], in frames, at least 1; start + span is at most the length of the clip.
        frames: T.

    Returns:
        float32 [B, T, M, V, 3].

    Raises:
        ValueError: `frames` is below 1.
    """
    if frames < 1:
        raise ValueError(f"frames must be at least 1, got {frames}")
    start_B1 = start.double()[:, None]
    span_B1 = span.double()[:, None]
    middle_T = torch.arange(frames, device=start.device, dtype=torch.float64) + 0.5
    position_BT = middle_T * (span_B1 / frames) - 0.5
    position_BT = start_B1 + torch.minimum(position_BT.clamp(min=0), span_B1 - 1)
    before_BT = position_BT.floor()
    # At a clip's last frame the weight of the frame after it is 0, but the index must stay inside.
    after_BT = torch.minimum(before_BT.long() + 1, clips.lengths[:, None] - 1)
    first_B1 = clips.offsets[:-1, None]
    rows = torch.stack([first_B1 + before_BT.long(), first_B1 + after_BT], dim=-1).view(-1, 2)
    weight = (position_BT - before_BT).float().view(-1)
    weights = torch.stack([1 - weight, weight], dim=-1)
    # Two gathers and a weighted sum in one pass: no temporaries of the views' size, and several
    # times as fast on a CPU.
    views = embedding_bag(rows, clips.frames.flatten(1), mode="sum", per_sample_weights=weights)
    return views.view(len(clips), frames, *clips.frames.shape[1:])


def whole(clips: ClipBatch, frames: int) -> Tensor:
    """Resize every clip, from its first to its last frame. Evaluation sees clips this way.

    Args:
        clips: B clips.
        frames: T.

    Returns:
        float32 [B, T, M, V, 3].
    """
    return resample(clips, torch.zeros_like(clips.ids), clips.lengths, frames)
