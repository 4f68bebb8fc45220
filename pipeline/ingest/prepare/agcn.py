"""The preparation of 2s-AGCN (Shi et al., CVPR 2019), which UmURL and its line use: no denoising."""

import numpy as np

from pipeline.ingest.prepare.slots import slots
from pipeline.ingest.recording import RawRecording

SLOTS = 4


def agcn(recording: RawRecording, persons: int) -> np.ndarray:
    """Select and fill bodies as 2s-AGCN's preparation does (`data_gen/` of 2s-AGCN and of UmURL).

    Of the first 4 body slots in file order those with the largest coordinate spread are kept,
    largest first (equal ones in file order). A person whose first frame is empty has its non-empty
    frames moved to the front; an empty tail is filled by repeating what comes before it, up to the
    clip's own T (the reference pads on to 300 frames). Empty frames in the middle stay. No
    denoising.
    """
    clip = slots(recording, SLOTS)
    order = np.argsort([-_spread(clip[:, slot]) for slot in range(SLOTS)], kind="stable")
    clip = clip[:, order[:persons]]
    for person in range(clip.shape[1]):
        clip[:, person] = _filled(clip[:, person])
    missing = persons - clip.shape[1]
    return np.pad(clip, ((0, 0), (0, missing), (0, 0), (0, 0))) if missing > 0 else clip


def _spread(body: np.ndarray) -> float:
    """Sum over x, y, z of the standard deviation over the joints of all non-empty frames; body: [T, V, 3]."""
    seen = body[body.any(axis=(1, 2))]
    axes = np.ascontiguousarray(seen.transpose(2, 0, 1)).reshape(
        3, -1
    )  # numpy reduces this ten times faster
    return float(axes.std(axis=1).sum()) if len(seen) else 0.0


def _filled(person: np.ndarray) -> np.ndarray:
    """Close the gap at the front and loop over the one at the end; person: [T, V, 3]."""
    seen = np.flatnonzero(person.any(axis=(1, 2)))
    if not len(seen):
        return person
    source = seen if seen[0] > 0 else np.arange(seen[-1] + 1)
    return person[source[np.arange(len(person)) % len(source)]]
