"""The sections `views` and `model`: how views are drawn, and the size of the backbone."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from models.choices import MODALITIES, FeatureNorm, Fusion, Modality, Norm, Pooling, Positions
from pipeline.config.section import Few, Fraction, Section, Width

# With their gradients and the optimiser's state, so many take 64 GB.
MOST_WEIGHTS = 4 * 10**9


class Views(Section):
    """How a view of a clip is drawn (see `models.views`).

    Attributes:
        crop: the smallest and the largest share of a clip's frames that a view shows.
        min_frames: the smallest number of frames that a view shows.
        corrupt_joints: the number of joints that are set to zero in a corrupted view.
        corrupt_probability: the probability that a view is corrupted.
        shear: the largest entry of the shear matrix.
        rotation: the largest angle around the vertical axis, in degrees.
        scale: the largest relative change of size.
        mirror: the probability that a view is mirrored.
    """

    crop: Annotated[list[Fraction], Field(min_length=2, max_length=2)]
    min_frames: Width
    corrupt_joints: Annotated[int, Field(ge=0, le=1024)]
    corrupt_probability: Fraction
    shear: Annotated[float, Field(ge=0, le=100)]
    rotation: Annotated[float, Field(ge=0, le=180)]
    scale: Annotated[float, Field(ge=0, lt=1)]
    mirror: Fraction

    @model_validator(mode="after")
    def _check_crop(self) -> Self:
        low, high = self.crop
        if not 0 < low <= high:
            raise ValueError(f"crop={self.crop} must be [low, high] with 0 < low <= high <= 1")
        return self


class Model(Section):
    """The backbone (see `models.backbone`). `conf/model/small.yaml` explains the keys."""

    frames: Annotated[int, Field(ge=1, le=4096)]
    width: Width
    layers: Annotated[int, Field(ge=1, le=256)]
    heads: Few
    feedforward: Width
    dropout: Annotated[float, Field(ge=0, lt=1)]
    norm: Norm
    positions_temporal: Positions
    positions_spatial: Positions
    pooling: Pooling
    # Encoders that were exported before these settings existed have no such keys in their cards.
    modalities: Annotated[list[Modality], Field(min_length=1)] = Field(default=list(MODALITIES))
    fusion: Fusion = "mean"
    feature_norm: FeatureNorm = "none"

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"heads={self.heads} must divide width={self.width}")
        return self

    @model_validator(mode="after")
    def _check_size(self) -> Self:
        # The weights of attention, and of the two layers after it, in one stream.
        weights = self.layers * (4 * self.width**2 + 2 * self.width * self.feedforward)
        if weights > MOST_WEIGHTS:
            raise ValueError(
                f"width={self.width}, layers={self.layers} and feedforward={self.feedforward} give "
                f"a stream of {weights:,} weights; at most {MOST_WEIGHTS:,} are allowed"
            )
        return self
