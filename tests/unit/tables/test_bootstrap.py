"""Intervals of means over people, against cases that can be counted."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tables.bootstrap import ENDS, intervals

# Of 10,000 draws the percentiles are known to about 0.15 points (one deviation).
TOLERANCE = 1.0

numbers = st.floats(-1, 1).map(lambda value: round(value, 6))
people = st.lists(numbers, min_size=2, max_size=4).map(np.array)
data_sets = st.dictionaries(st.sampled_from(["a", "b", "c"]), people, min_size=1, max_size=2)


def test_people_who_are_alike_leave_no_doubt():
    found = intervals({"a": np.full(7, 0.25), "b": np.full(3, 0.25)})
    assert found.pooled == pytest.approx((0.25, 0.25))
    assert found.by_data["a"] == pytest.approx((0.25, 0.25))


def test_two_people_have_three_draws():
    """Both ends have a probability of a quarter, so the interval reaches both."""
    assert intervals({"a": np.array([1.0, 3.0])}).pooled == (1.0, 3.0)


def test_people_of_two_data_sets_never_mix():
    """Each draw has two people of each: the pooled mean is 2 whoever is drawn."""
    found = intervals({"a": np.array([1.0, 1.0]), "b": np.array([3.0, 3.0])})
    assert found.pooled == (2.0, 2.0)
    assert found.by_data == {"a": (1.0, 1.0), "b": (3.0, 3.0)}


def test_one_person_tells_no_interval():
    found = intervals({"a": np.array([1.0]), "b": np.array([1.0, 2.0])})
    assert found.pooled is None
    assert found.by_data == {"a": None, "b": (1.0, 2.0)}


@given(data_sets)
def test_ends_are_those_of_all_draws_that_there_are(values):
    """Counts every draw, instead of drawing some."""
    sums = [0.0]
    for of_people in values.values():
        draws = list(itertools.product(of_people, repeat=len(of_people)))
        sums = [before + sum(draw) for before in sums for draw in draws]
    means = np.sort(sums) / sum(map(len, values.values()))
    for value, end in zip(intervals(values).pooled, ENDS, strict=True):
        around = [end - TOLERANCE, end + TOLERANCE]
        nearest = np.percentile(means, around, method="inverted_cdf")
        assert nearest[0] - 1e-9 <= value <= nearest[1] + 1e-9


@given(data_sets)
def test_the_opposite_has_the_opposite_interval(values):
    low, high = intervals(values).pooled
    mirrored = intervals({name: -of_people for name, of_people in values.items()}).pooled
    assert mirrored == pytest.approx((-high, -low), abs=1e-12)


def test_a_data_set_has_one_interval_wherever_it_stands():
    random = np.random.default_rng(3)
    mine, other = random.normal(size=8), random.normal(size=8)
    alone = intervals({"a": mine})
    together = intervals({"b": other, "a": mine})
    assert together.by_data["a"] == alone.by_data["a"] == alone.pooled
    # Draws of data sets of the same size are independent.
    spread = np.subtract(*reversed(alone.pooled))
    doubled = intervals({"a": mine, "b": mine}).pooled
    assert np.subtract(*reversed(doubled)) == pytest.approx(spread / np.sqrt(2), rel=0.05)
