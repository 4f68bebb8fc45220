"""What was measured on the test clips of each person, for comparisons that are paired by people."""

import numpy as np

from pipeline.evaluate.protocols import Measurement
from pipeline.runs.metric_names import KNN, LINEAR, RETRIEVAL_MAP
from pipeline.store.manifest import UNKNOWN
from pipeline.store.splits import Split

# How many test clips a person has, beside the figures.
CLIPS = "clips"


def figures_by_person(measurement: Measurement, split: Split) -> dict[str, dict[str, float]]:
    """Return means over the test clips of each person.

    Args:
        measurement: of one encoder.
        split: the clips of both sides.

    Returns:
        The number of the person as text, as JSON needs it -> the number of clips, and each figure.
        Clips of unknown people belong to nobody.
    """
    labels = split.test_labels
    of_clip = {
        LINEAR: measurement.linear.predictions == labels,
        KNN: measurement.knn.predictions == labels,
        RETRIEVAL_MAP: measurement.knn.average_precision,
    }
    subjects = split.index.subject[split.test]
    people: dict[str, dict[str, float]] = {}
    for subject in np.unique(subjects[subjects != UNKNOWN]).tolist():
        mine = subjects == subject
        figures: dict[str, float] = {CLIPS: int(mine.sum())}
        for name, values in of_clip.items():
            figures[name] = float(values[mine].mean())
        people[str(subject)] = figures
    return people
