"""The section `evaluate`: how frozen features are measured."""

from typing import Annotated

from pydantic import Field

from models.choices import ProbeOptimiser
from pipeline.config.section import (
    BatchSize,
    Count,
    Fraction,
    Name,
    Positive,
    Rounds,
    Section,
    Weight,
)


class Linear(Section):
    """The recipe of the linear probe (see `models.probes`).

    `conf/evaluate/standardised_adamw.yaml` explains the keys.
    """

    optimiser: ProbeOptimiser
    lr: Positive
    weight_decay: Weight
    momentum: Fraction
    batch_size: BatchSize
    epochs: Rounds
    milestones: list[Count]
    gamma: Annotated[float, Field(gt=0, le=1)]
    standardise: bool


class Knn(Section):
    """Classification by the k nearest training clips, which vote."""

    k: Count


class Evaluate(Section):
    """How frozen features are measured.

    Attributes:
        probe: the name of the recipe of the linear probe.
        linear: the recipe.
        knn: the settings of the nearest neighbours.
        batch_size: the clips in one batch of the encoder.
    """

    probe: Name
    linear: Linear
    knn: Knn
    batch_size: BatchSize
