"""Random numbers that depend on a key alone, so that no state is carried from epoch to epoch."""

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """The purpose of a sequence of random numbers. Each purpose has a sequence of its own."""

    CLIPS = 0
    ROW_GROUPS = 1
    WINDOW = 2
    PART = 3
    PAIRS = 4


def generator(seed: int, purpose: Purpose, *indices: int) -> np.random.Generator:
    """Return a generator for one use of random numbers.

    Args:
        seed: the seed of the run.
        purpose: the purpose of the numbers.
        indices: what tells this use from others of its purpose, such as the number of the epoch;
            non-negative integers.
    """
    key = (seed, int(purpose), *indices)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def permutation(count: int, seed: int, purpose: Purpose, *indices: int) -> np.ndarray:
    """Return a permutation of the numbers from 0 to `count` - 1, int64 [count].

    Args:
        count: the length of the permutation.
        seed: see `generator`.
        purpose: see `generator`.
        indices: see `generator`.
    """
    return generator(seed, purpose, *indices).permutation(count)
