"""The preparation of 2s-AGCN (Shi et al., CVPR 2019), which UmURL and its line use."""

import numpy as np

from pipeline.ingest.prepare.slots import slots
from pipeline.ingest.recording import RawRecording

SLOTS = 4


def agcn(recording: RawRecording, persons: int) -> np.ndarray:
    """Select and fill bodies as 2s-AGCN does (`data_gen/` of 2s-AGCN and of UmURL). No denoising.

    Of the first 4 body slots in file order those with the largest coordinate spread are kept,
    largest first (equal ones in file order). A person whose first frame is empty has its non-empty
    frames moved to the front. An empty tail is filled by repeating what comes before it, up to the
    clip's own T (the reference pads on to 300 frames). Empty frames in the middle stay.

    Args:
        recording: with T frames of V joints.
        persons: M.

    Returns:
        [T, M, V, 3]
    """
    clip = slots(recording, SLOTS)
    spread = [_spread(clip[:, slot]) for slot in range(SLOTS)]
    largest_first = np.argsort([-value for value in spread], kind="stable")
    clip = clip[:, largest_first[:persons]]
    for person in range(clip.shape[1]):
        clip[:, person] = _filled(clip[:, person])
    missing = persons - clip.shape[1]
    if missing > 0:
        clip = np.pad(clip, ((0, 0), (0, missing), (0, 0), (0, 0)))
    return clip


def _spread(body: np.ndarray) -> float:
    """Measure how much a body is spread out.

    Args:
        body: [T, V, 3].

    Returns:
        The sum over x, y, z of the standard deviation over the joints of all non-empty frames.
    """
    seen = body[body.any(axis=(1, 2))]
    if not len(seen):
        return 0.0
    # [3, T * V]: numpy reduces this ten times faster.
    axes = np.ascontiguousarray(seen.transpose(2, 0, 1)).reshape(3, -1)
    return float(axes.std(axis=1).sum())


def _filled(person: np.ndarray) -> np.ndarray:
    """Close the gap at the front and loop over the one at the end.

        frames    . . a b . c . .        . is empty
        result    a b c a b c a b        begins empty: only the frames that are seen count
        frames    a b . c . .
        result    a b . c a b            begins seen: a gap in the middle stays

    Args:
        person: [T, V, 3].
    """
    seen = np.flatnonzero(person.any(axis=(1, 2)))
    if not len(seen):
        return person
    source = np.arange(seen[-1] + 1)
    if seen[0] > 0:
        source = seen
    return person[source[np.arange(len(person)) % len(source)]]
