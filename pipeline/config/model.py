"""The sections `views` and `model`: what the backbone sees, and what it is."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from models.choices import MODALITIES, FeatureNorm, Fusion, Modality, Norm, Pooling, Positions
from pipeline.config.section import Count, Fraction, Section, Weight


class Views(Section):
    """How a view of a clip is drawn (see `models.views`).

    Attributes:
        crop: the shortest and the longest share of a clip's frames that a view shows.
        min_frames: a crop is never shorter.
        corrupt_joints: how many joints are set to zero in a corrupted view.
        corrupt_probability: how often a view is corrupted.
        shear: the largest entry of the shear.
        rotation: the largest angle around the vertical axis in degrees.
        scale: the largest relative change of size.
        mirror: how often a view is mirrored.
    """

    crop: Annotated[list[Fraction], Field(min_length=2, max_length=2)]
    min_frames: Count
    corrupt_joints: Annotated[int, Field(ge=0)]
    corrupt_probability: Fraction
    shear: Weight
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
    """The backbone (see `models.backbone`)."""

    frames: Count
    width: Count
    layers: Count
    heads: Count
    feedforward: Count
    dropout: Annotated[float, Field(ge=0, lt=1)]
    norm: Norm
    positions_temporal: Positions
    positions_spatial: Positions
    pooling: Pooling
    # Defaults for the cards of encoders that were exported before these could be chosen.
    modalities: Annotated[list[Modality], Field(min_length=1)] = Field(default=list(MODALITIES))
    fusion: Fusion = "mean"
    feature_norm: FeatureNorm = "none"

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"heads={self.heads} must divide width={self.width}")
        return self
