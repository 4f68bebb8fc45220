"""Turning an array of persons [M, T, V, 3] into a recording, for several readers."""

from typing import Any

import numpy as np

from pipeline.ingest.recording import check_coordinates
from pipeline.ingest.source import RejectedRecording

# Row numbers of the store are 32 bit, and -1 stands for unknown.
LARGEST = 2**31 - 1


def bodies_of(persons: np.ndarray) -> dict[str, Any]:
    """Turn an array of persons into bodies frame by frame.

    A joint that is not a number was not seen, and becomes zero. A person without any joint in a
    frame is absent from it. But persons keep their positions in the array: if a person is absent
    and a later one is present, the absent person becomes a body of zeros.

        frame             0     1     2     3        x: seen, .: all zero
        person 0          x     .     .     x
        person 1          x     x     .     .
        bodies            p0,p1 0,p1  none  p0

    Args:
        persons: real numbers [M, T, V, 3].

    Returns:
        `bodies`, `body_ids`, `offsets` and `flaws` of a `RawRecording`.

    Raises:
        RejectedRecording: the array has no frames, nobody appears, or coordinates are impossible.
    """
    count, frames = persons.shape[:2]
    if not count or not frames:
        raise RejectedRecording("no frames")
    with np.errstate(over="ignore", invalid="ignore"):  # a number beyond float64 becomes infinite
        persons = persons.astype(np.float64)
    unknown = ~np.isfinite(persons).all(axis=3)
    persons[unknown] = 0
    flaws: tuple[str, ...] = ()
    flawed = int(unknown.any(axis=(0, 2)).sum())
    if flawed:
        flaws = (
            f"{flawed} of {frames} frames have joints that are not numbers, taken as not seen",
        )

    # A frame has bodies up to its last person who is present.
    present = np.asarray(persons.any(axis=(2, 3))).T  # bool [T, M]
    last = count - present[:, ::-1].argmax(axis=1)
    bodies_in_frame = np.where(present.any(axis=1), last, 0)
    kept = np.arange(count) < bodies_in_frame[:, None]  # bool [T, M]
    bodies = persons.swapaxes(0, 1)[kept]
    check_coordinates(bodies)
    return {
        "bodies": bodies,
        "body_ids": kept.nonzero()[1].astype(np.uint64),
        "offsets": np.append(0, np.cumsum(bodies_in_frame)),
        "flaws": flaws,
    }
