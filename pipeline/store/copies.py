"""Exact copies: clips that hold the same coordinates, bit for bit.

Data sets hold such clips more often than one would think. A clip on the test side that is a copy of
a training clip tells nothing about clips that the encoder has not seen.
"""

import hashlib
from collections.abc import Iterable

import numpy as np
import pyarrow as pa

DIGEST_BYTES = 8


def digests(clips: Iterable[bytes | memoryview | pa.Buffer]) -> np.ndarray:
    """Hash the coordinates of each clip.

    Args:
        clips: the coordinates of N clips as bytes, see `ClipStore`.

    Returns:
        uint64 [N], equal for exact copies.
    """
    hashes = []
    for clip in clips:
        hashes.append(hashlib.blake2b(clip, digest_size=DIGEST_BYTES).digest())
    return np.frombuffer(b"".join(hashes), np.uint64)


def copied_from(clips: np.ndarray, originals: np.ndarray) -> np.ndarray:
    """Find the clips that are copies of others.

    Args:
        clips: digests [N] of the clips to check.
        originals: digests [M] of the other clips.

    Returns:
        bool [N], True if a clip is a copy of one of the originals.
    """
    return np.isin(clips, originals)


def groups_of_copies(digests: np.ndarray) -> list[np.ndarray]:
    """Group the clips that are equal to each other.

        digests       a  b  a  c  b  a
        clip          0  1  2  3  4  5
        groups        [0, 2, 5] and [1, 4]; clip 3 has no copy

    Args:
        digests: of N clips, numbers or texts, equal for exact copies.

    Returns:
        The clips (positions, ascending) of each group of two or more; groups in the order of their
        digests.
    """
    _, number, count = np.unique(digests, return_inverse=True, return_counts=True)
    repeated = np.flatnonzero(count[number] > 1)
    if not len(repeated):
        return []
    # A stable sort brings the clips of a group together and keeps them ascending.
    ordered = repeated[np.argsort(number[repeated], kind="stable")]
    starts = np.flatnonzero(np.diff(number[ordered])) + 1
    return np.split(ordered, starts)
