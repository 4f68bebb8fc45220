"""Test clips that are exact copies of training clips, and figures without them."""

import numpy as np

from pipeline.store.copies import copied_from
from pipeline.store.splits import Split


def copies_of_training_clips(digests: np.ndarray, split: Split) -> np.ndarray:
    """Find the test clips that are exact copies of a training clip.

    Args:
        digests: of `split.ids`, as `extract` returns them.
        split: the clips of both sides.

    Returns:
        bool [N_test].
    """
    train, test = split.rows(digests)
    return copied_from(test, train)


def has_unseen(copies: np.ndarray) -> bool:
    """True if an accuracy without copies makes sense: some test clips are copies, but not all."""
    return bool(copies.any() and not copies.all())


def unseen_accuracy(predictions: np.ndarray, labels: np.ndarray, copies: np.ndarray) -> float:
    """Return the accuracy over the test clips that are not copies, a fraction.

    Args:
        predictions: int64 [N_test], labels.
        labels: int64 [N_test], the true labels.
        copies: bool [N_test], from `copies_of_training_clips`.
    """
    return unseen_mean(predictions == labels, copies)


def unseen_mean(values: np.ndarray, copies: np.ndarray) -> float:
    """Return the mean over the test clips that are not copies.

    Args:
        values: [N_test].
        copies: bool [N_test], from `copies_of_training_clips`.
    """
    return float(values[~copies].mean())
