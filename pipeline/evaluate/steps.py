"""The steps of an evaluation that are the same whether Ray computes it or this process alone."""

from models.probes import LinearProbe
from pipeline.core import storage
from pipeline.encoder.export import write_weights
from pipeline.evaluate.copies import copies_of_training_clips
from pipeline.evaluate.extractor import load_for_extraction
from pipeline.evaluate.feature_norm import NormStatistics
from pipeline.evaluate.features import ExtractedFeatures
from pipeline.evaluate.protocols import Measurement, Protocols
from pipeline.evaluate.results import Evaluation
from pipeline.evaluate.saved import features_file
from pipeline.runs import files
from pipeline.runs.resolved import ResolvedRun


def exports_of(run: ResolvedRun) -> dict[str, str]:
    """Return the encoders that are measured: name -> directory of the export."""
    return {name: run.directory.path(name) for name in files.ENCODERS}


def settle_random_start(run: ResolvedRun, extracted: ExtractedFeatures) -> None:
    """Complete the export of the random start, and its features.

    With a feature norm the random start has no statistics. It gets those of the training side, its
    features are normalised by them, and whoever loads `random/` gets these features, too.

    Args:
        run: the run.
        extracted: the features of both encoders. Those of the random start are changed.
    """
    if run.config.model.feature_norm != "batch":
        return
    features = extracted.features[files.RANDOM_ENCODER]
    train, _ = run.split.rows(features)
    statistics = NormStatistics.of(train)
    extracted.features[files.RANDOM_ENCODER] = statistics.normalised(features)
    complete_random_start(run.directory.path(files.RANDOM_ENCODER), statistics)


def complete_random_start(uri: str, statistics: NormStatistics) -> None:
    """Write the statistics of the feature norm into the export of the random start.

    Args:
        uri: directory of the export.
        statistics: of the training side's features.
    """
    backbone, _ = load_for_extraction(files.RANDOM_ENCODER, uri)
    statistics.write_into(backbone)
    write_weights(uri, backbone)


def protocols_of(run: ResolvedRun) -> Protocols:
    """Return what is measured on each encoder."""
    config = run.config
    return Protocols(
        probe=LinearProbe(**config.evaluate.linear.model_dump()),
        neighbours=config.evaluate.knn.k,
        parts=tuple(run.parts.values()),
        seed=config.seed,
    )


def keep(
    run: ResolvedRun, extracted: ExtractedFeatures, measurements: dict[str, Measurement]
) -> Evaluation:
    """Write what the report draws, and what others may want to measure.

    Args:
        run: the run.
        extracted: the features of both encoders.
        measurements: name of the encoder -> what was measured on it.

    Returns:
        All that was found.
    """
    config = run.config
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
    for name, measurement in measurements.items():
        content = features_file(extracted.features[name], run.split, measurement)
        storage.write_bytes(run.directory.path(files.FEATURES, f"{name}.safetensors"), content)
    # Last: it shows that the evaluation is complete.
    storage.write_json(run.directory.path(files.EVALUATION), evaluation.details())
    return evaluation
