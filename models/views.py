"""Random views of clips: crop and resize in time, then one linear map for each joint in space.

The recipe is UmURL's (Sun et al., ACM MM 2023), to which camera rotation, scale and mirroring are added.
Shapes: B clips, T frames of a view, M persons, V joints.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.clips import ClipBatch, resample
from models.geometry import transform, yaw
from models.hashing import uniform
from models.skeleton import SkeletonLayout, index_tensor

# How many random numbers each decision takes, in this order; the choice of joints comes last and takes one a joint.
# Every number has its place whether it is used or not, so that one setting does not touch the others' randomness.
_NUMBERS = {
    "ratio": 1,
    "start": 1,
    "mirror": 1,
    "turn": 1,
    "size": 1,
    "corrupt": 1,
    "erase": 1,
    "noise": 9,
    "shear": 9,
}


@dataclass(frozen=True)
class Views:
    """Makes views; two calls with the same arguments give the same views.

    frames: T. A view is a part of the clip resized to T frames.
    crop: least and greatest share of the clip's frames in a view, drawn uniformly.
    min_frames: no view is made of fewer frames, but for shorter clips, which are used whole.
    corrupt_joints: how many of the V joints are corrupted, the same for all frames and persons: either all of them are
        set to zero or all are multiplied by one matrix of numbers from U(-1, 1), half and half.
    shear: x -> x S, where S has a unit diagonal and numbers from U(-shear, shear) beside it.
    corrupt_probability: of corrupting joints; otherwise the view is sheared, never both.
    rotation: degrees; the camera turns about the vertical by U(-rotation, rotation).
    scale: size changes by a factor from U(1 - scale, 1 + scale).
    mirror: probability of x -> -x together with the swap of left and right joints.

    Raises ValueError for settings out of range.
    """

    layout: SkeletonLayout
    frames: int
    crop: tuple[float, float]
    min_frames: int
    corrupt_joints: int
    shear: float
    corrupt_probability: float
    rotation: float
    scale: float
    mirror: float

    def __post_init__(self) -> None:
        low, high = self.crop
        joints = self.layout.num_joints
        for name, fine, allowed in (
            ("frames", self.frames >= 1, "at least 1"),
            (
                "crop",
                0 <= low <= high <= 1,
                "two shares of a clip between 0 and 1, the smaller first",
            ),
            ("min_frames", self.min_frames >= 1, "at least 1"),
            (
                "corrupt_joints",
                0 <= self.corrupt_joints <= joints,
                f"from 0 to {joints}, the joints there are",
            ),
            ("shear", self.shear >= 0, "at least 0"),
            ("corrupt_probability", 0 <= self.corrupt_probability <= 1, "between 0 and 1"),
            ("rotation", 0 <= self.rotation <= 180, "between 0 and 180 degrees"),
            ("scale", 0 <= self.scale < 1, "at least 0 and below 1"),
            ("mirror", 0 <= self.mirror <= 1, "between 0 and 1"),
        ):
            if not fine:
                raise ValueError(f"{name} must be {allowed}, got {getattr(self, name)}")

    def __call__(self, clips: ClipBatch, seed: int, epoch: int, draw: int) -> Tensor:
        """One view of each clip, float32 [B, T, M, V, 3].

        A clip's view hangs on (seed, epoch, its id, draw) only: not on its neighbours in the batch, nor, beyond the
        rounding of arithmetic, on the device. Raises ValueError for clips of another number of joints.
        """
        if clips.frames.shape[2] != self.layout.num_joints:
            raise ValueError(
                f"clips have {clips.frames.shape[2]} joints, skeleton {self.layout.name} has {self.layout.num_joints}"
            )
        random = self._random(clips.ids, seed, epoch, draw)
        views = resample(clips, *self._parts(clips.lengths, random), self.frames)
        if self.mirror > 0:
            swapped = views.index_select(
                -2, index_tensor(self.layout.mirror_permutation, views.device)
            )
            views = torch.where(self._mirrored(random)[:, None, None, None, None], swapped, views)
        return transform(views, self._matrices(random)[:, None, None])

    def _random(self, ids: Tensor, seed: int, epoch: int, draw: int) -> dict[str, Tensor]:
        """Name of a decision -> its uniform numbers, [B] or [B, how many]."""
        sizes = _NUMBERS | {"joints": self.layout.num_joints}
        parts = uniform(seed, epoch, ids, draw, sum(sizes.values())).split(
            tuple(sizes.values()), dim=1
        )
        return {
            name: part[:, 0] if _NUMBERS.get(name) == 1 else part
            for name, part in zip(sizes, parts, strict=True)
        }

    def _parts(self, lengths: Tensor, random: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """First frame and number of frames of each clip's part, float64 [B]: exact, so that all devices cut alike."""
        low, high = self.crop
        span = torch.floor(lengths * (random["ratio"].double() * (high - low) + low))
        span = torch.minimum(span.clamp(min=self.min_frames), lengths.double())
        start = torch.floor(random["start"].double() * (lengths - span + 1))
        return start, span

    def _mirrored(self, random: dict[str, Tensor]) -> Tensor:
        return random["mirror"] < self.mirror

    def _matrices(self, random: dict[str, Tensor]) -> Tensor:
        """Everything that happens in space, as one matrix for each joint. [B, V, 3, 3]."""
        angle = torch.deg2rad((2 * random["turn"] - 1) * self.rotation)
        size = 1 + (2 * random["size"] - 1) * self.scale
        body = yaw(angle.cos(), angle.sin()) * size[:, None, None]
        flip = torch.where(self._mirrored(random), -1.0, 1.0)
        body = torch.stack([body[:, 0] * flip[:, None], body[:, 1], body[:, 2]], dim=1)

        eye = torch.eye(3, device=angle.device)
        corrupt = (random["corrupt"] < self.corrupt_probability)[:, None, None]
        shear = eye + (2 * random["shear"].unflatten(1, (3, 3)) - 1) * self.shear * (1 - eye)
        noise = 2 * random["noise"].unflatten(1, (3, 3)) - 1
        noise = torch.where((random["erase"] < 0.5)[:, None, None], 0.0, noise)
        # Without corruption chosen joints are treated as the others.
        others = torch.where(corrupt, eye, shear)
        chosen = torch.where(corrupt, noise, shear)

        # stable: equal numbers must not be ranked differently on another device
        order = random["joints"].argsort(dim=1, stable=True)[:, : self.corrupt_joints]
        is_chosen = torch.zeros_like(random["joints"], dtype=torch.bool).scatter_(1, order, True)
        maps = torch.where(is_chosen[..., None, None], chosen[:, None], others[:, None])
        return transform(body[:, None].expand_as(maps), maps[:, :, None])
