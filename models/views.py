"""Random views of clips: crop and resize in time, then one linear map for each joint in space.

The recipe is UmURL's (Sun et al., ACM MM 2023), with camera rotation, scale and mirroring added.
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

# The number of random numbers for each decision, in this order. The choice of joints comes last,
# with one number for each joint. A number is drawn even if it is not used, so that a setting does
# not change the random numbers of the other decisions.
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

    Args:
        layout: the skeleton, which knows the joints and their mirror pairs.
        frames: T. A view is a part of the clip resized to T frames.
        crop: least and greatest share of the clip's frames in a view, drawn uniformly.
        min_frames: no view is made of fewer frames; shorter clips are used whole.
        corrupt_joints: how many of the V joints are corrupted, the same for all frames and persons.
            Either all of them are set to zero, or all are multiplied by one matrix of numbers from
            U(-1, 1), half and half.
        shear: x -> x S, where S has a unit diagonal and numbers from U(-shear, shear) beside it.
        corrupt_probability: of corrupting joints; otherwise the view is sheared, never both.
        rotation: degrees; the camera turns about the vertical by U(-rotation, rotation).
        scale: the size changes by a factor from U(1 - scale, 1 + scale).
        mirror: probability of x -> -x together with the swap of left and right joints.

    Raises:
        ValueError: A setting is out of range.
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
        self._require("frames", self.frames >= 1, "at least 1")
        shares = "two shares of a clip between 0 and 1, the smaller first"
        self._require("crop", 0 <= low <= high <= 1, shares)
        self._require("min_frames", self.min_frames >= 1, "at least 1")
        count = f"from 0 to {joints}, the number of joints"
        self._require("corrupt_joints", 0 <= self.corrupt_joints <= joints, count)
        self._require("shear", self.shear >= 0, "at least 0")
        chance = "between 0 and 1"
        self._require("corrupt_probability", 0 <= self.corrupt_probability <= 1, chance)
        self._require("rotation", 0 <= self.rotation <= 180, "between 0 and 180 degrees")
        self._require("scale", 0 <= self.scale < 1, "at least 0 and below 1")
        self._require("mirror", 0 <= self.mirror <= 1, chance)

    def _require(self, name: str, fine: bool, allowed: str) -> None:
        if not fine:
            raise ValueError(f"{name} must be {allowed}, got {getattr(self, name)}")

    def __call__(self, clips: ClipBatch, seed: int, epoch: int, draw: int) -> Tensor:
        """Make one view of each clip.

        A clip's view depends on (seed, epoch, its id, draw) only: not on its neighbours in the
        batch, nor, beyond the rounding of arithmetic, on the device.

        Args:
            clips: B clips.
            seed: of the run.
            epoch: number of the epoch.
            draw: number of the view among the views of a clip.

        Returns:
            float32 [B, T, M, V, 3].

        Raises:
            ValueError: The clips have another number of joints.
        """
        if clips.frames.shape[2] != self.layout.num_joints:
            raise ValueError(
                f"clips have {clips.frames.shape[2]} joints, "
                f"skeleton {self.layout.name} has {self.layout.num_joints}"
            )
        random = self._random(clips.ids, seed, epoch, draw)
        start_B, span_B = self._parts(clips.lengths, random)
        views = resample(clips, start_B, span_B, self.frames)
        if self.mirror > 0:
            views = torch.where(
                self._mirrored(random)[:, None, None, None, None], self._swapped(views), views
            )
        return transform(views, self._matrices(random)[:, None, None])

    def _random(self, ids: Tensor, seed: int, epoch: int, draw: int) -> dict[str, Tensor]:
        """Name of a decision -> its uniform numbers, [B] or [B, how many]."""
        sizes = _NUMBERS | {"joints": self.layout.num_joints}
        numbers = uniform(seed, epoch, ids, draw, sum(sizes.values()))
        parts = numbers.split(tuple(sizes.values()), dim=1)
        random = {}
        for name, part in zip(sizes, parts, strict=True):
            random[name] = part[:, 0] if _NUMBERS.get(name) == 1 else part
        return random

    def _parts(self, lengths: Tensor, random: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """First frame and number of frames of each clip's part, float64 [B].

        Both are whole numbers, computed exactly, so that all devices cut alike.
        """
        low, high = self.crop
        span = torch.floor(lengths * (random["ratio"].double() * (high - low) + low))
        span = torch.minimum(span.clamp(min=self.min_frames), lengths.double())
        start = torch.floor(random["start"].double() * (lengths - span + 1))
        return start, span

    def _mirrored(self, random: dict[str, Tensor]) -> Tensor:
        """Which clips are mirrored, bool [B]."""
        return random["mirror"] < self.mirror

    def _swapped(self, views: Tensor) -> Tensor:
        """Swap left and right joints."""
        order = index_tensor(self.layout.mirror_permutation, views.device)
        return views.index_select(-2, order)

    def _matrices(self, random: dict[str, Tensor]) -> Tensor:
        """All changes in space, as one matrix for each joint: [B, V, 3, 3]."""
        body_B33 = self._body(random)
        chosen_B33, others_B33 = self._distortions(random)
        chosen_BV = self._corrupted_joints(random["joints"])
        maps_BV33 = torch.where(
            chosen_BV[..., None, None], chosen_B33[:, None], others_B33[:, None]
        )
        return transform(body_B33[:, None].expand_as(maps_BV33), maps_BV33[:, :, None])

    def _body(self, random: dict[str, Tensor]) -> Tensor:
        """Rotation, scale and mirroring, the same for all joints: [B, 3, 3]."""
        angle = torch.deg2rad((2 * random["turn"] - 1) * self.rotation)
        size = 1 + (2 * random["size"] - 1) * self.scale
        body = yaw(angle.cos(), angle.sin()) * size[:, None, None]
        flip = torch.where(self._mirrored(random), -1.0, 1.0)
        return torch.stack([body[:, 0] * flip[:, None], body[:, 1], body[:, 2]], dim=1)

    def _distortions(self, random: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The matrices of the chosen joints and those of the other joints, each [B, 3, 3].

                            corrupted view     sheared view
        chosen joints       zero or noise      shear
        other joints        unchanged          shear
        """
        eye = torch.eye(3, device=random["corrupt"].device)
        corrupt = (random["corrupt"] < self.corrupt_probability)[:, None, None]
        erase = (random["erase"] < 0.5)[:, None, None]
        shear = eye + (2 * random["shear"].unflatten(1, (3, 3)) - 1) * self.shear * (1 - eye)
        noise = 2 * random["noise"].unflatten(1, (3, 3)) - 1
        noise = torch.where(erase, 0.0, noise)
        chosen = torch.where(corrupt, noise, shear)
        others = torch.where(corrupt, eye, shear)
        return chosen, others

    def _corrupted_joints(self, numbers_BV: Tensor) -> Tensor:
        """Which joints are chosen: those with the smallest numbers, bool [B, V]."""
        # A stable sort ranks equal numbers alike on every device.
        order = numbers_BV.argsort(dim=1, stable=True)[:, : self.corrupt_joints]
        none = torch.zeros_like(numbers_BV, dtype=torch.bool)
        return none.scatter_(1, order, True)
