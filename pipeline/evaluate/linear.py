"""The linear protocol: a linear classifier is trained on frozen features.

With late fusion each network has a linear classifier of its own, and the mean of their softmax
scores decides. This is the usual way of late fusion in the literature.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.probes import LinearProbe, linear_evaluation
from pipeline.evaluate.labelled import LabelledFeatures


@dataclass(frozen=True)
class LinearMeasurement:
    """The result of the linear protocol for one encoder.

    Attributes:
        top1: the accuracy on the test side after the last epoch, a fraction.
        best_top1: the accuracy of the best epoch. This epoch is chosen on the test side, so the
            number must not be reported as a result.
        test_accuracy: the accuracy after each epoch.
        train_loss: the mean cross-entropy of each epoch.
        logits: float32 [N_test, classes] after the last epoch. The columns are the labels of the
            training side, ascending.
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
        features: the features and labels of both sides.
        probe: the recipe.
        parts: the columns of each network, see `Backbone.parts`.
        seed: decides the initial weights of the classifier and the order of the clips.

    Raises:
        ValueError: features or losses are not finite.
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
