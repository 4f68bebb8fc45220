"""The features and labels of both sides of a protocol, which every evaluation protocol takes."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

# An array with a row for each training clip, and one with a row for each test clip.
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
        """Copy features and labels to a device.

        A copy is needed on the CPU, too: arrays that come from Ray are shared and read-only.

        Args:
            features: of the training side and of the test side.
            labels: of the training side and of the test side.
            device: such as "cpu" or "cuda".
        """
        train, test = features
        train_labels, test_labels = labels
        return cls(
            train=torch.tensor(train, device=device),
            train_labels=torch.tensor(train_labels, device=device),
            test=torch.tensor(test, device=device),
            test_labels=torch.tensor(test_labels, device=device),
        )
