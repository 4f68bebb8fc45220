"""The table of an evaluation on the console."""

from pipeline.core.console import percent, say, table
from pipeline.evaluate.copies import has_unseen
from pipeline.evaluate.results import Evaluation
from pipeline.runs.files import RANDOM_ENCODER
from pipeline.runs.metric_names import (
    ACCURACIES,
    GFLOPS,
    KNN_UNSEEN,
    LINEAR_UNSEEN,
    PARAMETERS,
    PRETRAINING_GFLOPS,
    RETRIEVAL_MAP,
)


def show(evaluation: Evaluation) -> None:
    """Print a table with a row for each encoder: its accuracies and its cost."""
    split = evaluation.split
    title = (
        f"{evaluation.protocol}: {len(split.train)} training and {len(split.test)} test clips, "
        f"probe {evaluation.probe}, last epoch, top-1, and mean average precision; "
        "GFLOPs a clip of inference and of a step of training"
    )
    rows = [_row(evaluation, encoder) for encoder in evaluation.measurements]
    table(title, _columns(evaluation), rows)
    copies = int(evaluation.copies.sum())
    if copies:
        say(f"  {copies} test clips are exact copies of training clips; unseen: without them")


def _columns(evaluation: Evaluation) -> list[str]:
    """Return the headings, few and short enough for a narrow console.

    The precision without copies is in the summary alone: there is no room for it.
    """
    nearest = f"{evaluation.neighbours}-NN"
    columns = ["", "linear", nearest, ACCURACIES[RETRIEVAL_MAP]]
    if has_unseen(evaluation.copies):
        columns += ["linear unseen", f"{nearest} unseen"]
    columns += ["weights", "GFLOPs", "training"]
    return columns


def _row(evaluation: Evaluation, encoder: str) -> list[str]:
    measurement = evaluation.measurements[encoder]
    row = [encoder, percent(measurement.linear.top1), percent(measurement.knn.top1)]
    row.append(percent(measurement.knn.mean_average_precision))
    unseen = evaluation.unseen(measurement)
    if unseen:
        row += [percent(unseen[LINEAR_UNSEEN]), percent(unseen[KNN_UNSEEN])]
    cost = evaluation.cost
    row += [f"{cost[PARAMETERS] / 1e6:.2f} M", f"{cost[GFLOPS]:.3g}"]
    if encoder == RANDOM_ENCODER:
        # This encoder was not trained.
        row.append("0")
    else:
        row.append(f"{cost[PRETRAINING_GFLOPS]:.3g}")
    return row
