"""Persons that come as one array, [M, T, V, 3]: what the readers of arrays, pickles and npz files have in common."""

from typing import Any

import numpy as np

from pipeline.ingest.recording import RejectedRecording, check_coordinates

# Row numbers of the store are 32 bit, and -1 stands for unknown.
LARGEST = 2**31 - 1


def bodies_of(persons: np.ndarray) -> dict[str, Any]:
    """Return `bodies`, `body_ids`, `offsets` and `flaws` of a `RawRecording`.

    A joint that is not a number was not seen and becomes zero; whoever has no joint in a frame is not in it. A person
    who is away while a later one is there stands as zeros, so that everyone keeps the place that the array gives.

    Args:
        persons: real numbers [M, T, V, 3], metres.

    Raises:
        RejectedRecording: no frame, nobody in any, or coordinates that are not metres.
    """
    count, frames = persons.shape[:2]
    if not count or not frames:
        raise RejectedRecording("no frames")
    with np.errstate(over="ignore", invalid="ignore"):  # beyond float64: infinite
        persons = persons.astype(np.float64)
    unknown = ~np.isfinite(persons).all(axis=3)
    persons[unknown] = 0
    present = persons.any(axis=(2, 3)).T
    bodies = np.where(present.any(axis=1), count - present[:, ::-1].argmax(axis=1), 0)
    kept = np.arange(count) < bodies[:, None]
    flawed = int(unknown.any(axis=(0, 2)).sum())
    result = {
        "bodies": persons.swapaxes(0, 1)[kept],
        "body_ids": kept.nonzero()[1].astype(np.uint64),
        "offsets": np.append(0, np.cumsum(bodies)),
        "flaws": (
            f"{flawed} of {frames} frames have joints that are not numbers, taken as not seen",
        )
        * (flawed > 0),
    }
    check_coordinates(result["bodies"])
    return result
