"""Small arithmetic that several packages share."""


def ceil_div(dividend: int, divisor: int) -> int:
    """Divide and round up.

    Example: 7 clips in batches of 3 make `ceil_div(7, 3) == 3` batches.
    """
    # `//` rounds down, so it rounds the negative up: -(-7 // 3) == -(-3) == 3.
    return -(-dividend // divisor)
