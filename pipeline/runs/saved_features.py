"""What evaluation leaves of each encoder in `features/`, as later stages read it."""

from dataclasses import dataclass

import numpy as np
from safetensors.numpy import load

from pipeline.core import storage


@dataclass(frozen=True)
class SavedFeatures:
    """The test clips of a protocol as one encoder saw them.

    Attributes:
        ids: int64 [N], rows of the store.
        labels: int64 [N], what the clips show.
        features: float32 [N, D].
        linear: int64 [N], what the linear probe takes each clip for.
        knn: int64 [N], what nearest neighbours take it for.
    """

    ids: np.ndarray
    labels: np.ndarray
    features: np.ndarray
    linear: np.ndarray
    knn: np.ndarray

    @classmethod
    def read(cls, uri: str) -> "SavedFeatures":
        """Read it from `features/<encoder>.safetensors`."""
        arrays = load(storage.read_bytes(uri))
        return cls(
            ids=arrays["test/ids"],
            labels=arrays["test/labels"],
            features=arrays["test/features"],
            linear=arrays["test/linear"],
            knn=arrays["test/knn"],
        )
