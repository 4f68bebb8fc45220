"""The protocol of nearest neighbours: which training clips are near a test clip.

A test clip gets the label of the nearest ones, and retrieval asks how early those of its own action
come. Nearness is the cosine of two features. With late fusion it is the mean of the networks'
cosines.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.retrieval import RetrievalResult, retrieval
from pipeline.evaluate.labelled import LabelledFeatures
from pipeline.runs.metric_names import RECALLS


@dataclass(frozen=True)
class KnnMeasurement:
    """The result of nearest neighbours for one encoder.

    Attributes:
        top1: accuracy on the test side, a fraction.
        predictions: int64 [N_test], labels.
        average_precision: float64 [N_test], of the retrieval of the training clips of its action.
        recalls: K -> the share of the test clips with a training clip of their action among the K
            nearest; those K alone of which the training side has so many clips.
    """

    top1: float
    predictions: np.ndarray
    average_precision: np.ndarray
    recalls: dict[int, float]

    @property
    def mean_average_precision(self) -> float:
        """The mean over the test side."""
        return float(self.average_precision.mean())

    @classmethod
    def of(cls, result: RetrievalResult, gallery: int) -> "KnnMeasurement":
        """Keep what is reported of a retrieval in so many training clips."""
        return cls(
            top1=result.accuracy,
            predictions=result.predictions.numpy(),
            average_precision=result.average_precision.numpy(),
            recalls={k: result.recall(k) for k in RECALLS if k <= gallery},
        )


def measure_knn(
    features: LabelledFeatures, neighbours: int, parts: Sequence[slice]
) -> KnnMeasurement:
    """Find the nearest training clips of every test clip, and how early those of its action come.

    Args:
        features: the features and labels of both sides.
        neighbours: the number of training clips that vote.
        parts: the columns of each network, see `Backbone.parts`.

    Raises:
        ValueError: features are not finite, or the training clips are fewer than the neighbours.
    """
    result = retrieval(
        features.train,
        features.train_labels,
        features.test,
        features.test_labels,
        neighbours=neighbours,
        parts=parts,
    )
    return KnnMeasurement.of(result, gallery=len(features.train))
