"""Which clips are measured while training goes on: a choice among those of the training side."""

import hashlib

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
    names = np.unique(groups).tolist()

    def drawn(name: object) -> bytes:
        return hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()

    # Ties in the hash keep the order of names.
    in_drawn_order = sorted(names, key=drawn)
    wanted = max(1, round(share * len(names)))
    most = max(1, len(names) - 1)
    return np.isin(groups, in_drawn_order[: min(wanted, most)])


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
