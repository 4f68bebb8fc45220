"""Everything that is measured on one encoder's frozen features."""

from dataclasses import dataclass

import torch

from models.probes import LinearProbe
from pipeline.evaluate.knn import KnnMeasurement, measure_knn
from pipeline.evaluate.labelled import LabelledFeatures, Sides
from pipeline.evaluate.linear import LinearMeasurement, measure_linear


@dataclass(frozen=True)
class Protocols:
    """What is measured, and how.

    Attributes:
        probe: the recipe of the linear protocol.
        neighbours: how many nearest neighbours vote.
        parts: the columns of each network's features, see `Backbone.parts`.
        seed: of everything that is drawn.
    """

    probe: LinearProbe
    neighbours: int
    parts: tuple[slice, ...]
    seed: int


@dataclass(frozen=True)
class Measurement:
    """What every protocol measured on one encoder."""

    linear: LinearMeasurement
    knn: KnnMeasurement


def measure_encoder(
    features: Sides, labels: Sides, protocols: Protocols, threads: int, device: str
) -> Measurement:
    """Measure one encoder's features.

    Args:
        features: [N_train, D] and [N_test, D].
        labels: [N_train] and [N_test].
        protocols: what is measured.
        threads: that this process may use.
        device: where it computes, "cpu" or "cuda".

    Raises:
        ValueError: features that cannot be measured.
    """
    torch.set_num_threads(threads)
    labelled = LabelledFeatures.of(features, labels, device)
    return Measurement(
        linear=measure_linear(labelled, protocols.probe, protocols.parts, protocols.seed),
        knn=measure_knn(labelled, protocols.neighbours, protocols.parts),
    )
