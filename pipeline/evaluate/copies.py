"""Test clips that are exact copies of training clips, and accuracies without them."""

import numpy as np

from pipeline.store.copies import copied_from
from pipeline.store.splits import Split


def copies_of_training_clips(digests: np.ndarray, split: Split) -> np.ndarray:
    """Tell which test clips are exact copies of a training clip.

    Args:
        digests: of `split.ids`, as `extract` returns them.
        split: the clips of both sides.

    Returns:
        bool [N_test].
    """
    train, test = split.rows(digests)
    return copied_from(test, train)


def has_unseen(copies: np.ndarray) -> bool:
    """Tell whether a second figure says anything: some test clips are copies, and some are not."""
    return bool(copies.any() and not copies.all())


def unseen_accuracy(predictions: np.ndarray, labels: np.ndarray, copies: np.ndarray) -> float:
    """Return the accuracy over the test clips that are no copies; all arguments are [N_test]."""
    correct = predictions == labels
    return float(correct[~copies].mean())
