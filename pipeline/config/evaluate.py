"""The section `evaluate`: how frozen features are measured."""

from typing import Annotated

from pydantic import Field

from models.choices import ProbeOptimiser
from pipeline.config.section import Count, Fraction, Positive, Section, Weight


class Linear(Section):
    """The linear probe (see `models.probes`)."""

    optimiser: ProbeOptimiser
    lr: Positive
    weight_decay: Weight
    momentum: Fraction
    batch_size: Count
    epochs: Count
    milestones: list[Count]
    gamma: Annotated[float, Field(gt=0, le=1)]
    standardise: bool


class Knn(Section):
    """Retrieval of the k nearest neighbours."""

    k: Count


class Evaluate(Section):
    """How frozen features are measured.

    Attributes:
        probe: the name of the linear probe's recipe.
        linear: the recipe.
        knn: retrieval.
        batch_size: clips that an encoder sees at a time.
    """

    probe: str
    linear: Linear
    knn: Knn
    batch_size: Count
