"""Chooses clips of a store that are worth looking at: varied, and not too short."""

import numpy as np

from pipeline.store.index import StoreIndex


def longer_half(index: StoreIndex) -> np.ndarray:
    """Ids (ascending) of the clips with at least the median number of frames."""
    return np.flatnonzero(index.num_frames >= np.median(index.num_frames))


def choose_clips(index: StoreIndex, candidates: np.ndarray, count: int, crowded: int) -> np.ndarray:
    """Choose clips of as many classes as possible, some of them with several persons.

    Args:
        index: of the store.
        candidates: ids to choose from; earlier ones are preferred.
        count: how many clips to choose, fewer where there are fewer candidates.
        crowded: how many of these come first and show several persons, where there are such.

    Returns:
        The chosen ids, each once.
    """
    several = candidates[index.num_persons[candidates] > 1]
    first = _class_by_class(several, index.label)[:crowded]
    others = candidates[~np.isin(candidates, first)]
    order = np.concatenate([first, others])
    return _class_by_class(order, index.label, kept=len(first))[:count]


def _class_by_class(order: np.ndarray, labels: np.ndarray, kept: int = 0) -> np.ndarray:
    """Sort clips: the first of every class comes before the second of any class.

        order     10 11 12 13 14
        class      a  a  b  a  b
        turn       0  1  0  2  1
        result    10 12 11 14 13

    Args:
        order: ids, in the order that decides which clip of a class is its first.
        labels: of all clips of the store.
        kept: so many ids stay in front, whatever their turn.
    """
    grouped = np.argsort(labels[order], kind="stable")
    _, first, count = np.unique(labels[order][grouped], return_index=True, return_counts=True)
    turn = np.empty(len(order), np.int64)
    turn[grouped] = np.arange(len(order)) - np.repeat(first, count)
    turn[:kept] = -1
    return order[np.argsort(turn, kind="stable")]
