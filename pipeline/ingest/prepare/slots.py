"""Bodies by their place in the file: the first of each frame, the second, ..."""

import numpy as np

from pipeline.ingest.recording import RawRecording


def slots(recording: RawRecording, count: int) -> np.ndarray:
    """Return the first `count` bodies of each frame, in the order of the file.

        bodies    b0 b1 b2 b3        offsets 0 1 1 4: one in frame 0, none in 1, three in 2
        frame     0  2  2  2
        slot      0  0  1  2         with count=2 b3 is left out

    Args:
        recording: with T frames of V joints.
        count: slots of a frame.

    Returns:
        [T, count, V, 3], absent bodies zero.
    """
    per_frame = np.diff(recording.offsets)
    frame = np.repeat(np.arange(recording.frames), per_frame)
    slot = np.arange(len(recording.bodies)) - recording.offsets[frame]
    clip = np.zeros((recording.frames, count, *recording.bodies.shape[1:]))
    kept = slot < count
    clip[frame[kept], slot[kept]] = recording.bodies[kept]
    return clip


def recorded(recording: RawRecording, persons: int) -> np.ndarray:
    """Keep the first `persons` bodies of each frame as they are.

    Drops the frames in which nobody is there.

    Returns:
        [T', persons, V, 3]
    """
    clip = slots(recording, persons)
    return clip[clip.any(axis=(1, 2, 3))]


def untrimmed(recording: RawRecording, persons: int) -> np.ndarray:
    """Keep the first `persons` bodies of each frame as they are, and every frame.

    Segments count frames, so none may be dropped.

    Returns:
        [T, persons, V, 3]
    """
    return slots(recording, persons)
