"""Small arithmetic that several packages share."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def ceil_div(dividend: int, divisor: int) -> int:
    """Divide and round up.

    Example: 7 clips in batches of 3 make `ceil_div(7, 3) == 3` batches.
    """
    # `//` rounds down, so it rounds the negative up: -(-7 // 3) == -(-3) == 3.
    return -(-dividend // divisor)


def thinned(items: Sequence[T], most: int) -> list[T]:
    """Return at most so many items, evenly spaced, with the first and the last of them.

    Example: `thinned([0, 1, 2, 3, 4, 5, 6], 3)` returns `[0, 3, 6]`.

    Args:
        items: in their order.
        most: at least 2.
    """
    if len(items) <= most:
        return list(items)
    gap = (len(items) - 1) / (most - 1)
    return [items[round(number * gap)] for number in range(most)]
