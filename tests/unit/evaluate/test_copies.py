"""Copies of training clips, and figures without them."""

import numpy as np
import pytest

from pipeline.evaluate.copies import copies_of_training_clips, has_unseen, unseen_accuracy


def test_a_copy_is_a_copy_of_the_other_side(by_cameras):
    digests = np.arange(len(by_cameras.ids), dtype=np.uint64)
    position = np.searchsorted(by_cameras.ids, by_cameras.test)
    # Twice on the test side: nothing that training has seen.
    digests[position[1]] = digests[position[0]]
    assert not copies_of_training_clips(digests, by_cameras).any()
    digests[position[2]] = digests[np.searchsorted(by_cameras.ids, by_cameras.train[5])]
    copies = copies_of_training_clips(digests, by_cameras)
    assert np.flatnonzero(copies).tolist() == [2]


@pytest.mark.parametrize(
    ("copies", "expected"),
    [([False, False], False), ([True, False], True), ([True, True], False)],
)
def test_a_second_figure_needs_copies_and_others(copies, expected):
    assert has_unseen(np.array(copies)) is expected


def test_the_second_figure_is_that_of_the_others():
    labels = np.array([0, 1, 2, 3])
    predictions = np.array([0, 1, 2, 0])
    copies = np.array([True, True, False, False])
    assert unseen_accuracy(predictions, labels, copies) == 0.5
