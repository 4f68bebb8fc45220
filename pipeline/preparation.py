"""From the bodies of a recording to the persons of a clip. Presets are named, and recorded with the data.

Numbers measured on differently prepared data are not comparable. Coordinates stay as recorded: centring and alignment
happen later, on the device.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.readers.recording import RawRecording, RejectedRecording

AGCN_SLOTS = 4


@dataclass(frozen=True)
class Preset:
    """A way to prepare clips: `apply(recording, persons)` returns [T, M, V, 3]; `parameters` are the numbers in it."""

    name: str
    apply: Callable[[RawRecording, int], np.ndarray]
    parameters: dict[str, Any] = field(default_factory=dict)


def prepare(recording: RawRecording, preset: Preset, persons: int) -> tuple[np.ndarray, int]:
    """Return a clip's coordinates, float32 [T, M, V, 3] in metres, and how many of its M persons are ever there.

    Raises:
        RejectedRecording: nobody is left in any frame.
    """
    clip = preset.apply(recording, persons).astype(np.float32)
    present = clip.any(axis=(0, 2, 3))
    if not present.any():
        raise RejectedRecording("no frame with a person")
    return clip, int(present.sum())


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


def agcn(recording: RawRecording, persons: int) -> np.ndarray:
    """Select and fill bodies as 2s-AGCN's preparation does, which UmURL and its line use (`data_gen/` of UmURL).

    Of the first 4 body slots in file order those with the largest coordinate spread are kept, largest first (equal ones
    in file order). A person whose first frame is empty has its non-empty frames moved to the front; an empty tail is
    filled by repeating what comes before it, up to the clip's own T (the reference pads on to 300 frames). Empty frames
    in the middle stay. No denoising.
    """
    clip = slots(recording, AGCN_SLOTS)
    order = np.argsort([-_spread(clip[:, slot]) for slot in range(AGCN_SLOTS)], kind="stable")
    clip = clip[:, order[:persons]]
    for person in range(clip.shape[1]):
        clip[:, person] = _filled(clip[:, person])
    missing = persons - clip.shape[1]
    return np.pad(clip, ((0, 0), (0, missing), (0, 0), (0, 0))) if missing > 0 else clip


def _spread(body: np.ndarray) -> float:
    """Sum over x, y, z of the standard deviation over the joints of all non-empty frames; body: [T, V, 3]."""
    seen = body[body.any(axis=(1, 2))]
    return float(seen.std(axis=(0, 1)).sum()) if len(seen) else 0.0


def _filled(person: np.ndarray) -> np.ndarray:
    """Close the gap at the front and loop over the one at the end; person: [T, V, 3]."""
    seen = np.flatnonzero(person.any(axis=(1, 2)))
    if not len(seen):
        return person
    source = seen if seen[0] > 0 else np.arange(seen[-1] + 1)
    return person[source[np.arange(len(person)) % len(source)]]


PRESETS: dict[str, Preset] = {
    "agcn": Preset("agcn", agcn, {"slots": AGCN_SLOTS}),
    "recorded": Preset("recorded", recorded),
}
