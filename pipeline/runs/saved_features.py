"""Reading the features and predictions that the stage `evaluate` wrote into `features/`."""

from dataclasses import dataclass

import numpy as np
from safetensors.numpy import load

from pipeline.core import storage


@dataclass(frozen=True)
class SavedFeatures:
    """The features of the N test clips from one encoder, and the labels predicted from them.

    Attributes:
        ids: int64 [N], the rows of the clips in the store.
        labels: int64 [N], the true labels.
        features: float32 [N, D].
        linear: int64 [N], the labels that the linear probe predicts.
        knn: int64 [N], the labels that the nearest neighbours predict.
    """

    ids: np.ndarray
    labels: np.ndarray
    features: np.ndarray
    linear: np.ndarray
    knn: np.ndarray

    @classmethod
    def read(cls, uri: str) -> "SavedFeatures":
        """Read the file `features/<encoder>.safetensors`.

        Raises:
            UserError: the file is missing or cannot be read.
        """
        arrays = load(storage.read_bytes(uri))
        return cls(
            ids=arrays["test/ids"],
            labels=arrays["test/labels"],
            features=arrays["test/features"],
            linear=arrays["test/linear"],
            knn=arrays["test/knn"],
        )
