"""From the labels of both sides of a protocol to class indices, with checks.

Shapes: N clips of a side, D features, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ClassTargets:
    """The labels of both sides as class indices from 0.

    Example: the training labels 7 3 7 and the test labels 3 have

        classes  3 7
        train    1 0 1
        test     0

    Args:
        classes: int64 [C], the labels of the training side, ascending.
        train: int64 [N_train], indices into `classes`.
        test: int64 [N_test], indices into `classes`.
    """

    classes: Tensor
    train: Tensor
    test: Tensor


def class_targets(train_labels: Tensor, test_labels: Tensor) -> ClassTargets:
    """Number the classes.

    Args:
        train_labels: int64 [N_train].
        test_labels: int64 [N_test].

    Raises:
        ValueError: A side is empty, clips have no label (a negative one), or a test label never
            occurs in training.
    """
    _check_labels("training", train_labels)
    _check_labels("test", test_labels)
    classes, train_targets = torch.unique(train_labels, return_inverse=True)
    test_targets = torch.searchsorted(classes, test_labels).clamp_max(len(classes) - 1)
    # searchsorted returns where a label would be inserted, even if it is not among the classes.
    unseen = classes[test_targets] != test_labels
    if unseen.any():
        missing = ", ".join(map(str, test_labels[unseen].unique().tolist()))
        raise ValueError(
            f"test clips carry labels that never occur on the training side: {missing}"
        )
    return ClassTargets(classes, train_targets, test_targets)


def _check_labels(side: str, labels: Tensor) -> None:
    if len(labels) == 0:
        raise ValueError(f"the {side} side has no clips")
    unlabelled = int((labels < 0).sum())
    if unlabelled:
        raise ValueError(f"{unlabelled} clips of the {side} side have no label")


def checked_targets(
    train_features: Tensor, train_labels: Tensor, test_features: Tensor, test_labels: Tensor
) -> ClassTargets:
    """Number the classes as `class_targets` does, and check the features, too.

    Args:
        train_features: [N_train, D].
        train_labels: int64 [N_train].
        test_features: [N_test, D].
        test_labels: int64 [N_test].

    Raises:
        ValueError: See `class_targets`; or features have another shape or are not finite.
    """
    _check_features("training", train_features, train_labels)
    _check_features("test", test_features, test_labels)
    return class_targets(train_labels, test_labels)


def _check_features(side: str, features: Tensor, labels: Tensor) -> None:
    if features.dim() != 2 or labels.shape != features.shape[:1]:
        raise ValueError(
            f"the {side} side needs features [N, D] and labels [N], "
            f"got {list(features.shape)} and {list(labels.shape)}"
        )
    if not torch.isfinite(features).all():
        raise ValueError(f"features of the {side} side are not finite")
