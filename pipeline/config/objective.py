"""The section `objective`: the terms of the loss (see `models.objective`).

`conf/objective/dc.yaml` explains the keys.
"""

from typing import Annotated, Self

from pydantic import Field, model_validator

from models.choices import (
    AlignmentLoss,
    CompositionModule,
    DecompositionModule,
    FeaturePart,
    Guidance,
    Projectors,
    RelationsOf,
    TargetEncoder,
    TargetKind,
)
from pipeline.config.section import Fraction, Name, Positive, Section, Temperature, Weight

Parts = Annotated[list[FeaturePart], Field(min_length=1)]


class PartWeights(Section):
    """The weights of the parts of a feature in the means over parts."""

    temporal: Positive
    spatial: Positive
    whole: Positive


class Decomposition(Section):
    """The term that takes the fused feature apart, and compares it with the unimodal features."""

    weight: Weight
    module: DecompositionModule
    parts: Parts
    projectors: Projectors


class Prototypes(Section):
    """The categories that are predicted if the guidance is by prototypes."""

    count: Annotated[int, Field(ge=2, le=65536)]
    temperature: Temperature
    epsilon: Positive
    iterations: Annotated[int, Field(ge=1, le=1000)]


class Relations(Section):
    """What is compared if the guidance is by relations."""

    of: RelationsOf


class Composition(Section):
    """The term that puts the unimodal features together, and compares them with the fused one."""

    weight: Weight
    module: CompositionModule
    parts: Parts
    guidance: Guidance
    prototypes: Prototypes
    relations: Relations


class View(Section):
    """The term that compares the fused features of two views."""

    weight: Weight
    parts: Parts


class Term(Section):
    """A term whose only setting is its weight."""

    weight: Weight


class Alignment(Section):
    """How two features are compared (see `models.alignment`)."""

    loss: AlignmentLoss
    temperature: Temperature
    invariance: Weight
    variance: Weight
    covariance: Weight
    stop_gradient: bool
    mask_performances: bool


class Targets(Section):
    """What a contrastive loss takes for the right answer (see `models.soft_targets`)."""

    kind: TargetKind
    own_share: Fraction
    temperature: Temperature | None = None
    perplexity: Annotated[float, Field(gt=1, le=1e6)] | None = None
    encoder: TargetEncoder

    @model_validator(mode="after")
    def _check_sharpness(self) -> Self:
        if (self.temperature is None) == (self.perplexity is None):
            raise ValueError(
                f"temperature={self.temperature} perplexity={self.perplexity}: one of them must be "
                "a number, and the other null"
            )
        return self


class Projector(Section):
    """The projectors between features and losses.

    Attributes:
        hidden: the width of the hidden layers, as a multiple of the feature's width.
        output: the width of the projection, as a multiple of the feature's width.
        layers: the number of linear layers.
    """

    hidden: Annotated[float, Field(gt=0, le=32)]
    output: Annotated[float, Field(gt=0, le=32)]
    layers: Annotated[int, Field(ge=1, le=16)]


class Objective(Section):
    """The loss: a sum of weighted terms."""

    name: Name
    part_weights: PartWeights
    decomposition: Decomposition
    composition: Composition
    view: View
    consistency: Term
    regularisation: Term
    alignment: Alignment
    targets: Targets
    projector: Projector
