"""The section `objective`: the terms of the loss (see `models.objective`)."""

from typing import Annotated

from pydantic import Field

from models.choices import (
    AlignmentLoss,
    CompositionModule,
    DecompositionModule,
    FeaturePart,
    Guidance,
    Projectors,
)
from pipeline.config.section import Count, Positive, Section, Weight


class Decomposition(Section):
    """The term that takes the fused feature apart into unimodal ones."""

    weight: Weight
    module: DecompositionModule
    parts: Annotated[list[FeaturePart], Field(min_length=1)]
    projectors: Projectors


class Prototypes(Section):
    """The categories that guidance by prototypes compares."""

    count: Annotated[int, Field(ge=2)]
    temperature: Positive
    epsilon: Positive
    iterations: Count


class Composition(Section):
    """The term that puts unimodal features together into guidance for the fused one."""

    weight: Weight
    module: CompositionModule
    guidance: Guidance
    prototypes: Prototypes


class Term(Section):
    """A term that has no settings but its weight."""

    weight: Weight


class Alignment(Section):
    """How two features are compared (see `models.alignment`)."""

    loss: AlignmentLoss
    temperature: Positive
    invariance: Weight
    variance: Weight
    covariance: Weight
    stop_gradient: bool


class Projector(Section):
    """The heads between features and losses.

    Attributes:
        hidden, output: widths, as multiples of the feature's.
        layers: how many linear layers.
    """

    hidden: Positive
    output: Positive
    layers: Count


class Objective(Section):
    """The loss: a sum of weighted terms."""

    name: str
    decomposition: Decomposition
    composition: Composition
    view: Term
    consistency: Term
    regularisation: Term
    alignment: Alignment
    projector: Projector
