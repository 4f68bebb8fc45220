"""What the first training worker tells the driver while training goes on."""

from dataclasses import dataclass
from typing import Any

from pipeline.pretrain.cadence import Position


@dataclass(frozen=True)
class TrainingBegan:
    """The first step is about to be computed."""


@dataclass(frozen=True)
class RowLogged:
    """A row of metrics."""

    row: dict[str, Any]


@dataclass(frozen=True)
class CheckpointWritten:
    """A checkpoint is in the run's storage."""

    position: Position


@dataclass(frozen=True)
class TrainingFailed:
    """Training cannot go on, and trying again would not help."""

    reason: str


@dataclass(frozen=True)
class TrainingStopped:
    """Training has ended before its last epoch, as the driver wanted. Its checkpoint is written."""


Message = TrainingBegan | RowLogged | CheckpointWritten | TrainingFailed | TrainingStopped
