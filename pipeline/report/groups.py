"""Accuracies of parts of the test side: the clips of each subject, and the clips of each camera.

The accuracy of all clips does not show if features fail on a single person or a single camera.
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
    """The accuracies over the clips of one subject or one camera.

    Attributes:
        name: the number of the subject or camera, or "unknown".
        clips: the number of its test clips.
        accuracies: fractions of these clips: for each encoder first the linear probe, then nearest
            neighbours.
    """

    name: str
    clips: int
    accuracies: list[float]


def accuracies_by_group(
    index: StoreIndex, saved: Mapping[str, SavedFeatures]
) -> dict[str, list[GroupAccuracy]]:
    """Compute accuracies by subject and by camera.

    Args:
        index: the index of the store.
        saved: name of an encoder -> its features and predictions; at least one encoder.

    Returns:
        Name of the column -> its groups in ascending order, for columns with several groups.
    """
    ids = next(iter(saved.values())).ids
    correct = []
    for encoder in saved.values():
        correct.append(encoder.linear == encoder.labels)
        correct.append(encoder.knn == encoder.labels)
    tables = {}
    for name in GROUPED:
        groups = _groups(index.columns[name][ids], correct)
        if len(groups) > 1:
            tables[name] = groups
    return tables


def _groups(values: np.ndarray, correct: list[np.ndarray]) -> list[GroupAccuracy]:
    """Return one group for each different value.

    Args:
        values: [N], the number of the subject or camera of each test clip.
        correct: bool [N] each, whether a prediction for the clip is correct.
    """
    numbers, group = np.unique(values, return_inverse=True)
    clips = np.bincount(group)
    shares = [np.bincount(group, hits) / clips for hits in correct]
    groups = []
    for row, number in enumerate(numbers.tolist()):
        name = "unknown" if number == UNKNOWN else str(number)
        accuracies = [float(share[row]) for share in shares]
        groups.append(GroupAccuracy(name, int(clips[row]), accuracies))
    return groups
