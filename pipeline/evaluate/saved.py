"""Writing the features of one encoder as a file, for the report and for other measurements."""

import numpy as np
from safetensors.numpy import save

from pipeline.evaluate.protocols import Measurement
from pipeline.store.splits import Split


def features_file(features: np.ndarray, split: Split, measurement: Measurement) -> bytes:
    """Return the content of `features/<encoder>.safetensors`.

    Args:
        features: [N, D], of the clips `split.ids`.
        split: the clips of both sides.
        measurement: the accuracies and predictions from these features.

    Returns:
        A file of safetensors: `train/` and `test/` with ids, labels and features [N, D]. The test
        side also has the logits of the linear probe [N, classes] (the columns are the labels of the
        training side, ascending), the predictions of both protocols, and the average precision of
        each clip.
    """
    train, test = split.rows(features)
    arrays = {
        "train/ids": split.train,
        "train/labels": split.train_labels,
        "train/features": train,
        "test/ids": split.test,
        "test/labels": split.test_labels,
        "test/features": test,
        "test/logits": measurement.linear.logits,
        "test/linear": measurement.linear.predictions,
        "test/knn": measurement.knn.predictions,
        "test/average_precision": measurement.knn.average_precision,
    }
    return save(arrays)
