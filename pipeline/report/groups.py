"""Accuracies over parts of the test side: the clips of each subject and of each camera.

A mean hides that features fail on one person, whose tracking was worse, or from one place of the
camera.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.runs.saved_features import SavedFeatures
from pipeline.store.index import StoreIndex
from pipeline.store.manifest import UNKNOWN

GROUPED = ("subject", "camera")


@dataclass(frozen=True)
class GroupAccuracy:
    """How well the clips of one subject or camera are recognised.

    Attributes:
        name: the number of the subject or camera, or "unknown".
        clips: test clips of it.
        accuracies: fractions of these clips: of every encoder the linear probe, then nearest
            neighbours.
    """

    name: str
    clips: int
    accuracies: list[float]


def accuracies_by_group(
    index: StoreIndex, saved: Mapping[str, SavedFeatures]
) -> dict[str, list[GroupAccuracy]]:
    """Accuracies by subject and by camera.

    Args:
        index: of the store.
        saved: name of an encoder -> what evaluation left of it; at least one.

    Returns:
        Name of the column -> its groups in ascending order, for columns with several groups.
    """
    ids = next(iter(saved.values())).ids
    right = []
    for one in saved.values():
        right.append(one.linear == one.labels)
        right.append(one.knn == one.labels)
    tables = {}
    for name in GROUPED:
        groups = _groups(index.columns[name][ids], right)
        if len(groups) > 1:
            tables[name] = groups
    return tables


def _groups(values: np.ndarray, right: list[np.ndarray]) -> list[GroupAccuracy]:
    """One group for each different value.

    Args:
        values: [N], number of the subject or camera of each test clip.
        right: bool [N] each, whether the clip was recognised.
    """
    numbers, group = np.unique(values, return_inverse=True)
    clips = np.bincount(group)
    shares = [np.bincount(group, hits) / clips for hits in right]
    groups = []
    for row, number in enumerate(numbers.tolist()):
        name = "unknown" if number == UNKNOWN else str(number)
        accuracies = [float(share[row]) for share in shares]
        groups.append(GroupAccuracy(name, int(clips[row]), accuracies))
    return groups
