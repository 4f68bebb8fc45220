"""Bodies by their place in the file: the first of each frame, the second, ..."""

import numpy as np

from pipeline.ingest.recording import RawRecording


def slots(recording: RawRecording, count: int) -> np.ndarray:
    """Return [T, count, V, 3]: the first `count` bodies of each frame in the order of the file, absent ones zero."""
    per_frame = np.diff(recording.offsets)
    frame = np.repeat(np.arange(recording.frames), per_frame)
    slot = np.arange(len(recording.bodies)) - recording.offsets[frame]
    clip = np.zeros((recording.frames, count, *recording.bodies.shape[1:]))
    kept = slot < count
    clip[frame[kept], slot[kept]] = recording.bodies[kept]
    return clip


def recorded(recording: RawRecording, persons: int) -> np.ndarray:
    """Keep the first `persons` bodies of each frame as they are; drop frames in which nobody is there."""
    clip = slots(recording, persons)
    return clip[clip.any(axis=(1, 2, 3))]


def untrimmed(recording: RawRecording, persons: int) -> np.ndarray:
    """Keep the first `persons` bodies of each frame as they are, and every frame: segments count frames."""
    return slots(recording, persons)
