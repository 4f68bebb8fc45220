"""Features of both sides of a protocol with their labels: what every evaluation protocol takes."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

# Something of the clips of the training side, and of those of the test side.
Sides = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class LabelledFeatures:
    """One encoder's features and the labels of both sides, on the device that measures them.

    Attributes:
        train: float32 [N_train, D].
        train_labels: int64 [N_train].
        test: float32 [N_test, D].
        test_labels: int64 [N_test].
    """

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor

    @classmethod
    def of(cls, features: Sides, labels: Sides, device: str) -> Self:
        """Copy features and labels to a device. Ray's own arrays are shared and read-only."""
        train, test = features
        train_labels, test_labels = labels
        return cls(
            train=torch.tensor(train, device=device),
            train_labels=torch.tensor(train_labels, device=device),
            test=torch.tensor(test, device=device),
            test_labels=torch.tensor(test_labels, device=device),
        )
