"""What every reader hands on: the bodies of a recording as they were recorded, and who did what in it."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from pipeline.ingest import source
from pipeline.ingest.source import Listing, Member, RejectedRecording

# Camera space of both Kinects.
KINECT_AXES = "camera space in metres: x to the camera's left (the right of a person who faces it), y up, z away from it"

Segment = tuple[int, int, int]


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
        split: names of the data set's own splits that hold it, where those are lists and not numbers.
        segments: of an untrimmed recording: (label, first frame, the frame after the last), from 0; None of a clip.
        flaws: what is wrong with a recording that can be used all the same, a few words each; kept with the store.
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
    split: tuple[str, ...] = ()
    segments: tuple[Segment, ...] | None = None
    flaws: tuple[str, ...] = ()

    @property
    def frames(self) -> int:
        """T."""
        return len(self.offsets) - 1


@dataclass(frozen=True)
class Rejected:
    """One of several recordings in a member, that cannot be used."""

    name: str
    reason: str


Parse = Callable[[Member], "list[RawRecording | Rejected]"]


class Reader(ABC):
    """One kind of recordings. A picklable dataclass: its fields are the options, which the store records.

    Attributes:
        name: as configured.
        fps: frames a second.
        axes: what x, y and z are, for the store's metadata.
    """

    name: ClassVar[str]
    fps: float
    axes: str

    @abstractmethod
    def listing(self, sources: Sequence[str]) -> Listing:
        """Return the recordings of some sources. Raises UserError where there is none, or a source is none."""

    @abstractmethod
    def opened(self, sources: Sequence[str], joints: int) -> "contextmanager[Parse]":
        """Open the sources once, as a context manager; gives a function from a member to its recordings.

        The function raises RejectedRecording for a member that cannot be used. `joints`: V of the layout.
        """


class FileReader(Reader):
    """A kind of which every file is one recording, whose name says what it holds.

    Attributes:
        suffix: how the names of its files end; anything else in a source is not a recording.
    """

    suffix: ClassVar[str]

    @abstractmethod
    def who(self, name: str) -> dict[str, int]:
        """Return label, subject, camera, ... of a file name. Raises RejectedRecording where it follows no scheme."""

    @abstractmethod
    def parse(self, name: str, data: bytes, joints: int) -> list[RawRecording]:
        """Parse a file (its name without directories, its content). Raises RejectedRecording."""

    def listing(self, sources: Sequence[str]) -> Listing:
        return source.listing(
            sources, lambda path: path.name.endswith(self.suffix), f"{self.suffix} file"
        )

    @contextmanager
    def opened(self, sources: Sequence[str], joints: int) -> Iterator[Parse]:
        with source.opened(sources) as read:
            yield lambda member: self.parse(member.name, read(member), joints)


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
