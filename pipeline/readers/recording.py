"""What every reader hands on: the bodies of a recording as they were recorded, and who did what in it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np


class RejectedRecording(Exception):
    """This recording cannot be used; the message says why in a few words and is kept with the store."""


@dataclass(frozen=True)
class RawRecording:
    """One clip as recorded.

    Attributes:
        clip_id: its name in the data set.
        bodies: float64 [N, V, 3], metres: all bodies of all frames, in the order of the file.
        body_ids: uint64 [N]: the sensor's identity of each body (about 7.2e16 for Kinect v2: exact only as integers).
        offsets: int64 [T+1]: the bodies of frame t are `offsets[t]:offsets[t+1]`; a frame may hold none.
        performance: what recordings of the same performance by other cameras share, and nothing else does.
        label, subject, camera, setup, replication: as the data set numbers them, label from 0; None where it does not.
    """

    clip_id: str
    bodies: np.ndarray = field(repr=False)
    body_ids: np.ndarray = field(repr=False)
    offsets: np.ndarray = field(repr=False)
    performance: str
    label: int | None = None
    subject: int | None = None
    camera: int | None = None
    setup: int | None = None
    replication: int | None = None

    @property
    def frames(self) -> int:
        """T."""
        return len(self.offsets) - 1


@dataclass(frozen=True)
class Reader:
    """One kind of recording file.

    Attributes:
        name: as configured.
        suffix: how the names of its files end; anything else in a source is not a recording.
        fps: frames a second.
        axes: what x, y and z are, for the store's metadata.
        parse: (file name without directories, content, joints) -> recordings; raises RejectedRecording.
    """

    name: str
    suffix: str
    fps: float
    axes: str
    parse: Callable[[str, bytes, int], list[RawRecording]]


def performance_id(dataset: str, performance: str) -> str:
    """Return the opaque identity of a performance (16 hex digits): for pairing cameras, never a target."""
    return hashlib.blake2b(f"{dataset}/{performance}".encode(), digest_size=8).hexdigest()


def check_coordinates(bodies: np.ndarray) -> None:
    """Raise RejectedRecording unless all coordinates [N, V, 3] are finite, within 1 km, and some joint was seen."""
    if not len(bodies):
        raise RejectedRecording("no body in any frame")
    if not np.isfinite(bodies).all():
        raise RejectedRecording("NaN or infinite coordinates")
    if np.abs(bodies).max() > 1000:
        raise RejectedRecording("coordinates beyond 1 km: not metres")
    if not bodies.any():
        raise RejectedRecording("every joint is zero in every frame")
