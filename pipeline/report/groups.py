"""Figures of parts of the test side: the clips of each subject, and the clips of each camera.

The accuracy of all clips does not show if features fail on a single person or a single camera.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.runs.files import RANDOM_ENCODER
from pipeline.runs.metric_names import KNN, LINEAR, RETRIEVAL_MAP, random_start
from pipeline.runs.saved_features import SavedFeatures
from pipeline.store.index import StoreIndex
from pipeline.store.manifest import UNKNOWN

GROUPED = ("subject", "camera")


@dataclass(frozen=True)
class GroupFigures:
    """The figures over the clips of one subject or one camera.

    Attributes:
        name: the number of the subject or camera, or "unknown".
        clips: the number of its test clips.
        figures: name of a figure, such as `random_linear_top1` -> its mean over these clips. Those
            of one encoder follow those of the other.
    """

    name: str
    clips: int
    figures: dict[str, float]


def figures_by_group(
    index: StoreIndex, saved: Mapping[str, SavedFeatures]
) -> dict[str, list[GroupFigures]]:
    """Compute figures by subject and by camera.

    Args:
        index: the index of the store.
        saved: name of an encoder -> its features and predictions; at least one encoder.

    Returns:
        Name of the column -> its groups in ascending order, for columns with several groups.
    """
    ids = next(iter(saved.values())).ids
    of_clips: dict[str, np.ndarray] = {}
    for encoder, features in saved.items():
        for figure, values in _of_clips(features).items():
            name = random_start(figure) if encoder == RANDOM_ENCODER else figure
            of_clips[name] = values
    tables = {}
    for name in GROUPED:
        groups = _groups(index.columns[name][ids], of_clips)
        if len(groups) > 1:
            tables[name] = groups
    return tables


def _of_clips(saved: SavedFeatures) -> dict[str, np.ndarray]:
    """Return the figures of each test clip, [N]: name -> values of which the mean is the figure."""
    figures = {LINEAR: saved.linear == saved.labels, KNN: saved.knn == saved.labels}
    if saved.average_precision is not None:
        figures[RETRIEVAL_MAP] = saved.average_precision
    return figures


def _groups(values: np.ndarray, of_clips: Mapping[str, np.ndarray]) -> list[GroupFigures]:
    """Return one group for each different value.

    Args:
        values: [N], the number of the subject or camera of each test clip.
        of_clips: name of a figure -> [N], what each test clip adds to it.
    """
    numbers, group = np.unique(values, return_inverse=True)
    clips = np.bincount(group)
    means = {name: np.bincount(group, of_clip) / clips for name, of_clip in of_clips.items()}
    groups = []
    for row, number in enumerate(numbers.tolist()):
        name = "unknown" if number == UNKNOWN else str(number)
        figures = {figure: float(mean[row]) for figure, mean in means.items()}
        groups.append(GroupFigures(name, int(clips[row]), figures))
    return groups
