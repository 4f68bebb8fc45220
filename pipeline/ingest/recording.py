"""What every reader hands on: the bodies of a recording as recorded, and who did what in it."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np

from pipeline.ingest import source
from pipeline.ingest.source import Listing, Member, RejectedRecording

# Camera space of both Kinects.
KINECT_AXES = (
    "camera space in metres: x to the camera's left (the right of a person who faces it), "
    "y up, z away from it"
)

# Coordinates beyond this are damage: 1 km, if the unit is the millimetre. Once they are metres,
# `pipeline.ingest.prepare.coordinates` has a closer limit.
LARGEST_COORDINATE = 1_000_000

# Label, first frame, the frame after the last; frames count from 0.
Segment = tuple[int, int, int]


@dataclass(frozen=True)
class RawRecording:
    """One clip as recorded.

    N bodies stand one after another, frame by frame. `offsets` says which of them belong to a
    frame:

        frame      0      1    2      3
        bodies   [b0 b1] [b2] []    [b3 b4]        N = 5, T = 4
        offsets   0       2    3     3       5     frame t holds bodies[offsets[t]:offsets[t + 1]]

    Attributes:
        clip_id: its name in the data set.
        bodies: float64 [N, V, 3]: all bodies of all frames, in the order of the file. Axes and unit
            are those of the recording (`pipeline.config.coordinates`).
        body_ids: uint64 [N]: the sensor's identity of each body. Kinect v2 gives about 7.2e16,
            exact only as integers.
        offsets: int64 [T+1]: see above.
        performance: what recordings of the same performance by other cameras share, and nothing
            else does.
        label: what is done, from 0. None where the data set does not say.
        subject: who does it, as the data set numbers people. None where it does not.
        camera: which camera saw it. None where the data set does not say.
        setup: which arrangement of cameras it was. None where the data set does not say.
        replication: which repetition it is. None where the data set does not say.
        split: names of the data set's own splits that hold it, where those are lists and not
            numbers.
        segments: of an untrimmed recording, what is done when. None of a clip.
        flaws: what is wrong with a recording that can be used all the same, a few words each. The
            store keeps them.
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
    """A recording that cannot be used, and why."""

    name: str
    reason: str


# From a member to its recordings. Those of several in one member that cannot be used are
# `Rejected`.
Parse = Callable[[Member], Sequence[RawRecording | Rejected]]


class RecordingReader(ABC):
    """Reads one kind of recordings.

    A subclass is a picklable dataclass. Its fields are the options, which the store records.

    Attributes:
        name: the name of the format in the configuration.
        space: "metres" for joints in space. "image" for 2-D key points, which have neither a unit
            nor a depth: the size of bodies is not checked, and nothing declares their axes.
        fps: frames a second.
        axes: what x, y and z of the store are, in words.
    """

    name: ClassVar[str]
    space: ClassVar[Literal["metres", "image"]] = "metres"
    fps: float
    axes: str

    def record(self) -> dict[str, Any]:
        """Return the name and the options, as the store keeps them."""
        options = asdict(self)  # type: ignore[call-overload]  # every kind is a dataclass
        return {"name": self.name, **options}

    @abstractmethod
    def listing(self, sources: Sequence[str]) -> Listing:
        """Find the recordings of some sources.

        Args:
            sources: what `data.raw` names, absolute.

        Raises:
            UserError: there is no recording, or one of the sources is none for this reader.
        """

    @abstractmethod
    def opened(self, sources: Sequence[str], joints: int) -> AbstractContextManager[Parse]:
        """Open the sources once, as a context manager.

        Args:
            sources: as for `listing`.
            joints: V of the skeleton layout.

        Returns:
            A context that gives a function from a member to its recordings. The function raises
            RejectedRecording for a member that cannot be used.
        """


class FileReader(RecordingReader):
    """Reads a kind of recordings of which every file is one, and says by its name what it holds.

    Attributes:
        suffix: how the names of its files end, in capitals too. Anything else in a source is no
            recording.
        advice: how the names of other files end -> what to do about those.
    """

    suffix: ClassVar[str]
    advice: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def who(self, name: str) -> dict[str, int]:
        """Return label, subject, camera, ... of a file name.

        Raises:
            RejectedRecording: the name does not follow the scheme.
        """

    @abstractmethod
    def parse(self, name: str, data: bytes, joints: int) -> list[RawRecording]:
        """Parse a file.

        Args:
            name: its name without directories.
            data: its content.
            joints: V of the skeleton layout.

        Raises:
            RejectedRecording: name or content are not what they should be.
        """

    def listing(self, sources: Sequence[str]) -> Listing:
        """See `RecordingReader.listing`."""
        found = source.listing(
            sources,
            lambda path: path.name.lower().endswith(self.suffix),
            f"{self.suffix} file",
            self.advice,
        )
        members = [replace(one, name=self.usual_name(one.name)) for one in found.members]
        return replace(found, members=sorted(members))

    def usual_name(self, name: str) -> str:
        """Return a file name as the data set's authors write it: copies may have `.SKELETON`."""
        return name[: -len(self.suffix)] + self.suffix

    @contextmanager
    def opened(self, sources: Sequence[str], joints: int) -> Iterator[Parse]:
        """See `RecordingReader.opened`."""
        with source.opened(sources) as read:
            yield lambda member: self.parse(member.name, read(member), joints)


def performance_id(dataset: str, performance: str) -> str:
    """Return the opaque identity of a performance (16 hex digits).

    It is for pairing cameras, and never a target.
    """
    return hashlib.blake2b(f"{dataset}/{performance}".encode(), digest_size=8).hexdigest()


def check_coordinates(bodies: np.ndarray) -> None:
    """Check that coordinates are finite and possible, and that some joint was seen.

    Args:
        bodies: real numbers [N, V, 3].

    Raises:
        RejectedRecording: they are not.
    """
    if not len(bodies):
        raise RejectedRecording("no body in any frame")
    if not np.isfinite(bodies).all():
        raise RejectedRecording("NaN or infinite coordinates")
    if np.abs(bodies).max() > LARGEST_COORDINATE:
        raise RejectedRecording(f"coordinates beyond {LARGEST_COORDINATE:,}: not metres")
    if not bodies.any():
        raise RejectedRecording("every joint is zero in every frame")
