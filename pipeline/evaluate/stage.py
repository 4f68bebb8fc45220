"""The stage `evaluate`: how much the frozen features of the encoder tell about the actions.

The encoder as training left it and as it started (`random`) see the same clips in the same pass,
and both are measured by a linear classifier and by nearest neighbours. A figure is worth what it
adds to its random row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.probes import LinearProbe
from pipeline.core import storage
from pipeline.encoder.export import write_weights
from pipeline.evaluate.copies import copies_of_training_clips
from pipeline.evaluate.extractor import load_for_extraction
from pipeline.evaluate.feature_norm import NormStatistics
from pipeline.evaluate.features import ExtractedFeatures, extract
from pipeline.evaluate.protocols import Protocols
from pipeline.evaluate.results import Evaluation
from pipeline.evaluate.saved import features_file
from pipeline.evaluate.table import show
from pipeline.evaluate.tasks import measure
from pipeline.runs import files
from pipeline.runs.resolved import ResolvedRun

if TYPE_CHECKING:
    from pipeline.runs.tracking import Tracker

ENCODERS = (files.ENCODER, files.RANDOM_ENCODER)


def evaluate(run: ResolvedRun, tracker: Tracker) -> dict[str, Any]:
    """Measure the run's encoder and its random start.

    Leaves `features/<encoder>.safetensors` (see `features_file`) and `evaluation.json` (the curves
    of the linear probe) in `output`. The export of the random start gets the statistics of its
    feature norm.

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
    extracted = extract_features(run)

    # Measure both encoders in the same way.
    protocols = Protocols(
        probe=LinearProbe(**config.evaluate.linear.model_dump()),
        neighbours=config.evaluate.knn.k,
        parts=tuple(run.parts.values()),
        seed=config.seed,
    )
    measurements = measure(extracted.features, run.split, protocols, config.cluster)

    evaluation = Evaluation(
        protocol=config.data.protocol,
        probe=config.evaluate.probe,
        neighbours=config.evaluate.knn.k,
        split=run.split,
        copies=copies_of_training_clips(extracted.digests, run.split),
        cost=run.cost,
        feature_width=extracted.features[files.ENCODER].shape[1],
        measurements=measurements,
    )

    # Keep what the report draws, and what others may want to measure.
    for name, measurement in measurements.items():
        content = features_file(extracted.features[name], run.split, measurement)
        storage.write_bytes(run.directory.path(files.FEATURES, f"{name}.safetensors"), content)
    storage.write_json(run.directory.path(files.EVALUATION), evaluation.curves())
    show(evaluation)
    return evaluation.summary()


def extract_features(run: ResolvedRun) -> ExtractedFeatures:
    """Extract the features of both encoders, and complete the export of the random start.

    With a feature norm the random start has no statistics. It gets those of the training side, its
    features are normalised by them, and whoever loads `random/` gets these features, too.

    Raises:
        UserError: as `extract`.
    """
    config = run.config
    exports = {name: run.directory.path(name) for name in ENCODERS}
    extracted = extract(run.store, run.split, exports, config.cluster, config.evaluate.batch_size)
    if config.model.feature_norm == "batch":
        features = extracted.features[files.RANDOM_ENCODER]
        train, _ = run.split.rows(features)
        statistics = NormStatistics.of(train)
        extracted.features[files.RANDOM_ENCODER] = statistics.normalised(features)
        complete_random_start(exports[files.RANDOM_ENCODER], statistics)
    return extracted


def complete_random_start(uri: str, statistics: NormStatistics) -> None:
    """Write the statistics of the feature norm into the export of the random start.

    Args:
        uri: directory of the export.
        statistics: of the training side's features.
    """
    backbone, _ = load_for_extraction(files.RANDOM_ENCODER, uri)
    statistics.write_into(backbone)
    write_weights(uri, backbone)
