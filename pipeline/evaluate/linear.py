"""The linear protocol: a linear classifier is trained on frozen features.

With late fusion each network has a linear classifier of its own, and the mean of their softmax
scores decides, as the field fuses late.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.probes import LinearProbe, linear_evaluation
from pipeline.evaluate.labelled import LabelledFeatures


@dataclass(frozen=True)
class LinearMeasurement:
    """What the linear protocol measured on one encoder.

    Attributes:
        top1: accuracy on the test side after the last epoch, a fraction.
        best_top1: the best epoch's accuracy. It is chosen on the test side, so it is no result.
        test_accuracy: after each epoch.
        train_loss: mean cross-entropy of each epoch.
        logits: float32 [N_test, classes] after the last epoch; a column a label of the training
            side, ascending.
        predictions: int64 [N_test], labels.
    """

    top1: float
    best_top1: float
    test_accuracy: list[float]
    train_loss: list[float]
    logits: np.ndarray
    predictions: np.ndarray


def measure_linear(
    features: LabelledFeatures, probe: LinearProbe, parts: Sequence[slice], seed: int
) -> LinearMeasurement:
    """Train a linear classifier on the training side and measure it on the test side.

    Args:
        features: of both sides.
        probe: the recipe.
        parts: the columns of each network, see `Backbone.parts`.
        seed: of the classifier's weights and of the order of clips.

    Raises:
        ValueError: features or losses that are not finite.
    """
    result = linear_evaluation(
        features.train,
        features.train_labels,
        features.test,
        features.test_labels,
        probe=probe,
        seed=seed,
        parts=parts,
    )
    return LinearMeasurement(
        top1=result.accuracy,
        best_top1=result.best,
        test_accuracy=result.test_accuracy,
        train_loss=result.train_loss,
        logits=result.logits.numpy(),
        predictions=result.predictions.numpy(),
    )
