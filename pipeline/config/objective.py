"""The section `objective`: the terms of the loss (see `models.objective`).

`conf/objective/dc.yaml` explains the keys.
"""

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
from pipeline.config.section import Name, Positive, Section, Weight


class Decomposition(Section):
    """The term that takes the fused feature apart, and compares it with the unimodal features."""

    weight: Weight
    module: DecompositionModule
    parts: Annotated[list[FeaturePart], Field(min_length=1)]
    projectors: Projectors


class Prototypes(Section):
    """The categories that are predicted if the guidance is by prototypes."""

    count: Annotated[int, Field(ge=2, le=65536)]
    temperature: Positive
    epsilon: Positive
    iterations: Annotated[int, Field(ge=1, le=1000)]


class Composition(Section):
    """The term that puts the unimodal features together, and compares them with the fused one."""

    weight: Weight
    module: CompositionModule
    guidance: Guidance
    prototypes: Prototypes


class Term(Section):
    """A term whose only setting is its weight."""

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
    decomposition: Decomposition
    composition: Composition
    view: Term
    consistency: Term
    regularisation: Term
    alignment: Alignment
    projector: Projector
