"""The stage `evaluate`: how much the frozen features of the encoder tell about the actions.

The encoder as training left it and as it started (`random`) see the same clips in the same pass,
and both are measured by a linear classifier and by their nearest neighbours. A figure is worth what
it adds to its random row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.evaluate.features import extract
from pipeline.evaluate.steps import exports_of, keep, protocols_of, settle_random_start
from pipeline.evaluate.table import show
from pipeline.evaluate.tasks import measure
from pipeline.runs.resolved import ResolvedRun

if TYPE_CHECKING:
    from pipeline.runs.tracking import Tracker
    from pipeline.runs.untracked import Untracked


def evaluate(run: ResolvedRun, tracker: Tracker | Untracked) -> dict[str, Any]:
    """Measure the run's encoder and its random start.

    Leaves `features/<encoder>.safetensors` (see `features_file`) and `evaluation.json` (the curves
    of the linear probe, and the figures of each person) in `output`. The export of the random start
    gets the statistics of its feature norm.

    Args:
        run: the run, with both encoders exported.
        tracker: is told which clips were used.

    Returns:
        Flat figures for the summary, see `Evaluation.summary`.

    Raises:
        UserError: a store, protocol, label or export that cannot be evaluated.
    """
    config = run.config
    tracker.dataset(run.store, "evaluation")
    extracted = extract(
        run.store, run.split, exports_of(run), config.cluster, config.evaluate.batch_size
    )
    settle_random_start(run, extracted)
    # Measure both encoders in the same way.
    measurements = measure(extracted.features, run.split, protocols_of(run), config.cluster)
    evaluation = keep(run, extracted, measurements)
    show(evaluation)
    return evaluation.summary()
