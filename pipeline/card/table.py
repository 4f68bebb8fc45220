"""The table `clips.csv`: a row for each clip, for whoever wants to sort and filter."""

import csv
import io
from typing import Any

import numpy as np

from pipeline.card.bones import BoneNorms, bone_scores
from pipeline.card.findings import missing_share
from pipeline.card.inspection import Inspection
from pipeline.store.manifest import UNKNOWN


def clip_table(inspection: Inspection) -> bytes:
    """The table of all clips.

    Returns:
        CSV in UTF-8. Shares are fractions; `bone_score` is the worst bone's (see `bone_scores`);
        what is unknown is empty.
    """
    index = inspection.index
    columns = inspection.columns
    # A bone that was never seen has no score, and is not the worst.
    scores = np.nan_to_num(bone_scores(columns, BoneNorms.of(columns)))
    table = {
        "clip_id": index.clip_id,
        "label": _known(index.label),
        "subject": _known(index.subject),
        "camera": _known(index.camera),
        "frames": columns["frames"],
        "persons": columns["persons"],
        "missing_joints": missing_share(columns).round(6),
        "missing_frames": (columns["empty_frames"] / columns["frames"]).round(6),
        "bone_score": scores.max((1, 2)).round(2),
        "findings": [";".join(kinds) for kinds in _kinds(inspection)],
    }
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(table)
    writer.writerows(zip(*table.values(), strict=True))
    return text.getvalue().encode()


def _kinds(inspection: Inspection) -> list[list[str]]:
    """The kinds of findings of each clip, in the order of RULES."""
    kinds: list[list[str]] = [[] for _ in range(len(inspection.index))]
    for kind, found in inspection.findings.items():
        for finding in found:
            kinds[finding.clip].append(kind)
    return kinds


def _known(values: np.ndarray) -> list[Any]:
    """Values of a column, None where they are unknown."""
    return [None if value == UNKNOWN else value for value in values.tolist()]
