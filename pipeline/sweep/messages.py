"""What the driver of a sweep and the process of a trial tell each other."""

from dataclasses import dataclass, field
from typing import Any

from pipeline.config.compose import Request
from pipeline.config.root import Config
from pipeline.config.sweep import Criterion
from pipeline.runs.metric_rows import Row
from pipeline.stream.plan import StreamPlan


@dataclass(frozen=True)
class Order:
    """What the process of a trial is to do.

    Attributes:
        config: of the trial, with absolute places. `config.stages` are pretrain, and evaluate if
            the trial is measured on its test side.
        request: what a user would type for the trial.
        plan: of the clip stream, with the trial's own batch size and seed. Its blocks are those of
            all trials with the same clips.
        attempt: the name of the folder in `checkpoints` for what this attempt writes.
        resume: the checkpoint to go on from, None to begin.
        measured: the epochs whose rungs the record has already.
        is_scheduled: whether the scheduler looks at the trial, and may stop it.
        criterion: how the trial is measured while it trains; None: not at all (in a table).
        stops_collapsed: whether the trial ends once its features have collapsed.
        gpu_share: the part of a GPU that the trial may fill.
    """

    config: Config
    request: Request
    plan: StreamPlan
    attempt: str
    resume: str | None = None
    measured: tuple[int, ...] = ()
    is_scheduled: bool = True
    criterion: Criterion | None = None
    stops_collapsed: bool = False
    gpu_share: float = 1.0


@dataclass(frozen=True)
class Report:
    """What the process of a trial tells the driver: a checkpoint is written, or all is done.

    Attributes:
        epoch: whole epochs that are done.
        rows: the rows of metrics since the last report.
        figures: what was measured at this epoch, names in CRITERIA -> values; empty in a table.
        results: the name of a finished stage -> its results; only in the last report of a trial
            that came to its end.
        seconds: the name of a finished stage -> how long it took.
        ended: why the trial ends here without being finished (diverged, collapsed), None if it
            does not.
        failed: whether that is a failure, after which another attempt would not help.
    """

    epoch: int
    rows: list[Row] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    ended: str | None = None
    failed: bool = False
