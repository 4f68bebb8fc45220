"""Which clips are measured while training goes on: a choice among those of the training side."""

import hashlib
from typing import Any

import numpy as np

from pipeline.store.index import StoreIndex


def held_out(groups: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Choose a share of the groups by a hash of their names.

    Args:
        groups: [N], the group of every clip.
        share: of the groups; at least one is chosen, and never all of several.
        seed: another seed chooses other groups.

    Returns:
        bool [N], whether a clip belongs to a chosen group.
    """
    names = drawn_order(np.unique(groups), seed)
    return np.isin(groups, names[: how_many(len(names), share)])


def drawn_order(names: np.ndarray, seed: int) -> list[Any]:
    """Return names in an order that a hash of each of them and the seed decides."""

    def drawn(name: object) -> bytes:
        return hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()

    # Ties in the hash keep the order of names.
    return sorted(names.tolist(), key=drawn)


def how_many(groups: int, share: float) -> int:
    """Return how many of some groups are a share: at least one, and never all of several."""
    wanted = max(1, round(share * groups))
    most = max(1, groups - 1)
    return min(wanted, most)


def first_of_each_class(ids: np.ndarray, labels: np.ndarray, most: int) -> np.ndarray:
    """Choose clips with a label, of every class the same share, the first in the store's order.

    Rows of a store are in a random order, so the first ones are a fair draw. Each clip gets the
    share of its class that comes before it, and those with the smallest are chosen. With four clips
    of class 0, two of class 1 and `most` 3:

        id        0    1    2    3    4    5
        label     0    0    1    0    1    0
        before    0   1/4   0   1/2  1/2  3/4
        chosen    x    x    x

    Args:
        ids: int64 [N], ascending: the clips to choose from.
        labels: int64, of the whole store, -1 where unknown.
        most: clips that are chosen, at most.

    Returns:
        Their ids, ascending. With fewer of them than classes, some classes have none.
    """
    labelled = ids[labels[ids] >= 0]
    of_clip = labels[labelled]
    before = np.empty(len(labelled))
    for label in np.unique(of_clip):
        rows = np.flatnonzero(of_clip == label)
        before[rows] = np.arange(len(rows)) / len(rows)
    chosen = np.argsort(before, kind="stable")[:most]
    return np.sort(labelled[chosen])


def choose(
    index: StoreIndex, ids: np.ndarray, share: float, most: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Choose a gallery, and queries that look for their nearest clips in it.

    No person is on both sides, and no performance where persons are not known. Queries have labels
    that the gallery has, too.

    Args:
        index: columns of the store.
        ids: int64 [N], ascending: the clips to choose from. Those without a label are left out.
        share: of the persons (or performances) that become queries.
        most: clips of both sides together, at most.
        seed: of both choices.

    Returns:
        Ids of the gallery and of the queries, both ascending.
    """
    labelled = ids[index.label[ids] >= 0]
    # Rows of a store are in a random order. So some that follow each other are a fair draw, and
    # few row groups hold them.
    start = np.random.default_rng(seed).integers(max(1, len(labelled)))
    chosen = np.sort(np.roll(labelled, -start)[:most])
    persons = index.subject[chosen]
    persons_known = (persons >= 0).all() and len(np.unique(persons)) > 1
    groups = index.performance_id[chosen]
    if persons_known:
        groups = persons
    held = held_out(groups, share, seed)
    gallery = chosen[~held]
    queries = chosen[held]
    in_gallery = np.isin(index.label[queries], index.label[gallery])
    return gallery, queries[in_gallery]
