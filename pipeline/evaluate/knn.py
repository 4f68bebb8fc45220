"""The protocol of nearest neighbours: a test clip gets the label of the nearest training clips.

Nearness is the cosine of two features. With late fusion it is the mean of the networks' cosines.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.probes import retrieval
from pipeline.evaluate.labelled import LabelledFeatures


@dataclass(frozen=True)
class KnnMeasurement:
    """The result of nearest neighbours for one encoder.

    Attributes:
        top1: accuracy on the test side, a fraction.
        predictions: int64 [N_test], labels.
    """

    top1: float
    predictions: np.ndarray


def measure_knn(
    features: LabelledFeatures, neighbours: int, parts: Sequence[slice]
) -> KnnMeasurement:
    """Find the nearest training clips of every test clip and let them vote.

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
    return KnnMeasurement(top1=result.accuracy, predictions=result.predictions.numpy())
