"""What a training leaves behind: two exported encoders, and its figures for the summary."""

from typing import Any

from torch import Tensor

from models.monitors import collapsed
from pipeline.core.console import say
from pipeline.encoder import export
from pipeline.encoder.build import build_framework
from pipeline.runs.files import ENCODER, RANDOM_ENCODER
from pipeline.runs.metric_names import CLIPS_PER_SECOND, LOSS, STEP
from pipeline.runs.metric_rows import Row
from pipeline.runs.resolved import ResolvedRun


def export_encoders(run: ResolvedRun, trained: dict[str, Tensor]) -> None:
    """Write the encoder before and after training.

    Before training its weights are those that the seed draws: exactly what training started from.

    Args:
        run: the run.
        trained: the weights of the framework after training.
    """
    framework = build_framework(run.config)
    encoder = framework.exported
    # An average begins as the initial weights, too.
    export.export_encoder(run.directory.path(RANDOM_ENCODER), encoder, run.config)
    framework.load_state_dict(trained)
    export.export_encoder(run.directory.path(ENCODER), encoder, run.config)


def collapse_in(row: Row) -> str | None:
    """Say when and why features have collapsed; None if they have not in this row."""
    reason = collapsed(row)
    if reason is None:
        return None
    return f"step {row[STEP]}: {reason}"


def training_results(
    run: ResolvedRun, rows: list[Row], collapse: str | None, checkpoint: str
) -> dict[str, Any]:
    """Return what training reports for the summary.

    Args:
        run: the run.
        rows: all rows of metrics.
        collapse: when and why features had collapsed first, if they had.
        checkpoint: the one at the end of training.
    """
    last = rows[-1]
    # The median: the first rows of a start are slow.
    speeds = sorted(row[CLIPS_PER_SECOND] for row in rows)
    results: dict[str, Any] = {
        "epochs": run.config.train.epochs,
        "loss": last[LOSS],
        "clips_per_second": speeds[len(speeds) // 2],
        "checkpoint": checkpoint,
    }
    if collapse is not None:
        if collapsed(last):
            results["collapsed"] = collapse
        else:
            say("  at the last step features are no longer collapsed")
    return results | run.cost
