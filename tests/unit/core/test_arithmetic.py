"""Small arithmetic that several packages share."""

import itertools

import pytest

from pipeline.core.arithmetic import ceil_div, thinned


@pytest.mark.parametrize(("dividend", "divisor", "quotient"), [(7, 3, 3), (6, 3, 2), (0, 3, 0)])
def test_ceil_div_rounds_up(dividend, divisor, quotient):
    assert ceil_div(dividend, divisor) == quotient


@pytest.mark.parametrize("most", [2, 7, 200])
def test_what_is_thinned_keeps_both_ends(most):
    items = list(range(1001))
    kept = thinned(items, most)
    assert len(kept) == most and kept == sorted(set(kept))
    assert kept[0] == items[0] and kept[-1] == items[-1]
    gaps = [after - before for before, after in itertools.pairwise(kept)]
    assert max(gaps) - min(gaps) <= 1


def test_few_items_are_all_kept():
    assert thinned([1, 2, 3], 3) == [1, 2, 3] and thinned([], 3) == []
