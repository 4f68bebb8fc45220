"""Random numbers that depend on nothing but a key, so that no state travels between epochs."""

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a sequence of random numbers is for. The same seed never serves two purposes."""

    CLIPS = 0
    ROW_GROUPS = 1
    WINDOW = 2
    PART = 3
    PAIRS = 4


def generator(seed: int, purpose: Purpose, *place: int) -> np.random.Generator:
    """Return a generator for one purpose at one place.

    Args:
        seed: of the run.
        purpose: what the numbers are for.
        place: where they are used, such as an epoch; non-negative integers.
    """
    key = (seed, int(purpose), *place)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def permutation(count: int, seed: int, purpose: Purpose, *place: int) -> np.ndarray:
    """Return a permutation of `count` numbers, int64; arguments as for `generator`."""
    return generator(seed, purpose, *place).permutation(count)
