"""Choosing clips of a store to show: of different classes, and not too short."""

import numpy as np

from pipeline.store.index import StoreIndex


def longer_half(index: StoreIndex) -> np.ndarray:
    """Return the ids (ascending) of the clips with at least the median number of frames."""
    return np.flatnonzero(index.num_frames >= np.median(index.num_frames))


def choose_clips(index: StoreIndex, candidates: np.ndarray, count: int, crowded: int) -> np.ndarray:
    """Choose clips of as many classes as possible, some of them with several persons.

    Args:
        index: the index of the store.
        candidates: the ids to choose from; earlier ones are preferred.
        count: the number of clips to choose. All candidates are chosen if they are fewer.
        crowded: the number of chosen clips with several persons, as far as the store has them. They
            come first.

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
        order: ids. Their order decides which clip of a class is its first.
        labels: the labels of all clips of the store.
        kept: so many ids stay in front, whatever their turn.
    """
    # Bring the clips of a class together. The turn of a clip is its position among them.
    grouped = np.argsort(labels[order], kind="stable")
    _, first, count = np.unique(labels[order][grouped], return_index=True, return_counts=True)
    turn = np.empty(len(order), np.int64)
    turn[grouped] = np.arange(len(order)) - np.repeat(first, count)
    turn[:kept] = -1
    return order[np.argsort(turn, kind="stable")]
