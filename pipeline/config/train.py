"""The section `train`: how the encoder is pretrained.

`conf/train/adamw_cosine.yaml` explains the keys.
"""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.section import BatchSize, Count, Positive, Rounds, Section, Weight


class Optimiser(Section):
    """The optimiser and its settings."""

    name: Literal["adam", "adamw", "sgd"]
    lr: Positive
    weight_decay: Weight


class Schedule(Section):
    """How the learning rate changes (see `pipeline.pretrain.schedule`)."""

    name: Literal["cosine", "step"]
    warmup_steps: Annotated[int, Field(ge=0, le=10**9)]
    milestones: list[Count]
    gamma: Annotated[float, Field(gt=0, le=1)]


class CheckpointPolicy(Section):
    """When a checkpoint is written, and how many are kept."""

    every_epochs: Count | None = None
    every_steps: Count | None = None
    keep: Count


class Watch(Section):
    """How a run is measured while it trains, on clips of the training side alone.

    Attributes:
        every_epochs: epochs from one measurement to the next; None for none.
        share: the share of the training side's people who are held out as queries.
        max_clips: the largest number of clips to measure on.
    """

    every_epochs: Count | None = None
    share: Annotated[float, Field(gt=0, lt=1)]
    max_clips: Annotated[int, Field(ge=2, le=10**6)]


class Average(Section):
    """An average of the encoder's weights over the updates, which takes part in the training.

    Attributes:
        decay: the share of the average that stays at an update; None for no average.
        rise: whether the decay rises to 1 until the last update.
        export: whether the average is the encoder that is measured and exported.
    """

    decay: Annotated[float, Field(ge=0.9, lt=1)] | None = None
    rise: bool
    export: bool

    @property
    def is_exported(self) -> bool:
        """True if the average is the encoder that is measured and exported."""
        return self.decay is not None and self.export


class Train(Section):
    """How the encoder is pretrained."""

    epochs: Rounds
    batch_size: Annotated[BatchSize, Field(ge=2)]
    optimiser: Optimiser
    schedule: Schedule
    average: Average
    clip_norm: Positive | None = None
    accumulate: BatchSize
    precision: Literal["float32", "bfloat16"]
    checkpoint: CheckpointPolicy
    watch: Watch
    max_failures: Annotated[int, Field(ge=0, le=10**6)]
    log_every: Count
