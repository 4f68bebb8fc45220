"""The usual lengths of each bone in a store, and how far a clip is from them.

All comparisons use logarithms of lengths. So a bone of half the usual length is as far off as one
of twice the usual length, and short bones are judged as strictly as long ones. Shapes: N clips, M
persons, K bones.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.card.statistics import Columns

# The median absolute deviation of normally distributed values, times this, is their standard
# deviation.
MAD_TO_SD = 1.4826
# A smaller spread counts as this. If all bodies are nearly equal (a few persons, synthetic
# recordings), a difference of a few percent would be many standard deviations.
LEAST_SPREAD = 0.02
# In metres. Two joints at the same point have a length of zero, which has no logarithm.
LEAST_LENGTH = 1e-4


@dataclass(frozen=True)
class BoneNorms:
    """The usual values of each bone over all clips and persons; NaN if a bone was never seen.

    Attributes:
        length: [K], median of the log of a bone's length (in metres).
        length_spread: [K], how much that varies between clips, a robust standard deviation.
        ratio: [K], median of the log of longest to shortest length within a clip.
        ratio_spread: [K], how much that varies between clips.
    """

    length: np.ndarray
    length_spread: np.ndarray
    ratio: np.ndarray
    ratio_spread: np.ndarray

    @classmethod
    def of(cls, columns: Columns) -> "BoneNorms":
        """The norms of a store, from the `statistics` of its clips."""
        length, length_spread = _robust(log_length(columns["length"]))
        ratio, ratio_spread = _robust(log_ratio(columns))
        return cls(length, length_spread, ratio, ratio_spread)


def bone_scores(columns: Columns, norms: BoneNorms) -> np.ndarray:
    """How far each bone's length is off in every clip.

    Returns:
        [N, M, K], in robust standard deviations of the log length; NaN where it was never seen.
    """
    return np.abs(log_length(columns["length"]) - norms.length) / norms.length_spread


def log_length(lengths: np.ndarray) -> np.ndarray:
    """Logarithm of lengths in metres, any shape."""
    return np.log(np.maximum(lengths.astype(np.float64), LEAST_LENGTH))


def log_ratio(columns: Columns) -> np.ndarray:
    """Logarithm of longest to shortest length of each bone within each clip, [N, M, K]."""
    return log_length(columns["long"]) - log_length(columns["short"])


def _robust(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median and robust standard deviation of each bone over clips and persons.

    Args:
        values: [N, M, K]; NaN is no value.

    Returns:
        Two arrays [K]; the median is NaN where a bone has no value.
    """
    bones = values.shape[-1]
    middle = np.full(bones, np.nan)
    spread = np.full(bones, np.nan)
    for bone in range(bones):
        known = values[..., bone]
        known = known[~np.isnan(known)]
        if len(known):
            middle[bone] = np.median(known)
            spread[bone] = MAD_TO_SD * np.median(np.abs(known - middle[bone]))
    return middle, np.maximum(spread, LEAST_SPREAD)
