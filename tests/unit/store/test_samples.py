"""The clips that are shown are of many classes, and some show several persons."""

import numpy as np
import pytest

from pipeline.store.samples import choose_clips, longer_half
from tests.helpers.planted import index_of

# Ten clips of 1 to 10 frames; of two persons are clips 5 and 9.
CLIPS = {f"clip-{n}": np.ones((n + 1, 1, 2, 3), np.float32) for n in range(10)}
LABELS = np.array([0, 0, 1, 0, 1, 0, 2, 2, 1, 0])
PERSONS = np.array([1, 1, 1, 1, 1, 2, 1, 1, 1, 2])
INDEX = index_of(CLIPS, label=LABELS, num_persons=PERSONS)


def test_the_longer_half_has_at_least_the_median_length():
    assert longer_half(INDEX).tolist() == [5, 6, 7, 8, 9]


@pytest.mark.parametrize(
    ("count", "crowded", "chosen"),
    [
        (3, 0, [0, 2, 6]),  # the first clip of each class
        (5, 0, [0, 2, 6, 1, 4]),  # then the second ones
        (3, 1, [5, 2, 6]),  # the crowded clip stands for its class
        (4, 2, [5, 9, 2, 6]),
        (99, 2, [5, 9, 2, 6, 4, 7, 0, 8, 1, 3]),
    ],
)
def test_classes_take_turns_after_the_crowded_clips(count, crowded, chosen):
    assert choose_clips(INDEX, np.arange(10), count, crowded).tolist() == chosen
