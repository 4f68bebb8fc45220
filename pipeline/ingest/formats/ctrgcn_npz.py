"""NTU RGB+D as the npz files of CTR-GCN and its followers (Chen et al., ICCV 2021): `NTU60_CS.npz`.

    x_train, x_test    [N, T, M * V * 3]: the persons of a frame one after another; zeros from a
                       clip's end to T
    y_train, y_test    [N, classes]: one-hot; or [N]: the numbers of the classes

These files do not say who was recorded and by which camera. A clip is called by its side and its
number from 1, `train-00001`, and its side is its split. Their coordinates are already relative to
the first person's spine in the first frame.

`np.savez` stores arrays as they are, so a row is read where it lies and nothing else is. The
checksum of the whole array, gigabytes, is not computed.
"""

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from pipeline.core.errors import UserError, first_line
from pipeline.ingest.decode import container
from pipeline.ingest.decode.stored import StoredArray, find_array
from pipeline.ingest.recording import Parse, RawRecording, RecordingReader
from pipeline.ingest.source import Listing, Member, RejectedRecording
from pipeline.ingest.tracks import LARGEST, bodies_of

SIDES = ("train", "test")

# The header of a file in a zip: its bytes, what it begins with, and where the lengths of the name
# and of the extra field stand that follow it.
LOCAL_HEADER = 30
LOCAL_MAGIC = b"PK\3\4"
LOCAL_LENGTHS = (26, 28)
ENCRYPTED = 1


@dataclass(frozen=True)
class CtrgcnNpz(RecordingReader):
    """One npz: data.raw is the file, or a folder that holds it and no other."""

    name: ClassVar[str] = "ctrgcn_npz"
    fps: float = 30.0
    axes: str = (
        "metres from the first person's spine in the first frame: "
        "x to the camera's left, y up, z away from it"
    )

    def listing(self, sources: Sequence[str]) -> Listing:
        """Return a member a row.

        Raises:
            UserError: the file is no such npz, or compressed.
        """
        found = container.find(sources, ".npz")
        members = []
        with container.opened(found.uri) as file:
            sides = _find_sides(found.uri, file)
            facts = container.digest(_label_parts(sides, file))
        for side, rows in sides.items():
            for number in range(1, rows.x.rows + 1):
                name = f"{side}-{number:05}"
                members.append(Member(name, name, rows.x.row_bytes))
        if not members:
            raise UserError(f"{found.uri}: holds no recordings (its arrays have no rows)")
        return Listing(sorted(members), found.ignored, facts=facts)

    @contextmanager
    def opened(self, sources: Sequence[str], joints: int) -> Iterator[Parse]:
        """See `RecordingReader.opened`.

        Raises:
            UserError: its frames are no persons of so many joints.
        """
        uri = container.find(sources, ".npz").uri
        with container.opened(uri) as file:
            sides = _find_sides(uri, file)
            for rows in sides.values():
                width = rows.x.shape[2]
                if width % (joints * 3):
                    raise UserError(
                        f"{uri}: frames of {width} numbers are not persons of {joints} joints"
                    )

            def parse(member: Member) -> list[RawRecording]:
                side, _, number = member.name.partition("-")
                frames, label = sides[side].row(file, int(number) - 1)
                bodies = bodies_of(_persons(frames, joints))
                recording = RawRecording(
                    clip_id=member.name,
                    performance=member.name,
                    label=label,
                    split=(side,),
                    **bodies,
                )
                return [recording]

            yield parse


def _persons(frames: np.ndarray, joints: int) -> np.ndarray:
    """Take the zeros off the end of a clip [T, M * V * 3]; returns [M, T', V, 3]."""
    with np.errstate(invalid="ignore"):  # whatever is not a number is not zero
        seen = np.flatnonzero(frames.any(axis=1))
    if not len(seen):
        raise RejectedRecording("every frame is zero")
    length = seen[-1] + 1
    return frames[:length].reshape(length, -1, joints, 3).swapaxes(0, 1)


@dataclass(frozen=True)
class _Side:
    """The clips of one side and their labels."""

    x: StoredArray
    y: StoredArray

    def row(self, file: pa.NativeFile, number: int) -> tuple[np.ndarray, int]:
        """Read a clip, [T, M * V * 3], and its label."""
        label = self.y.row(file, number)
        if label.ndim == 0:
            return self.x.row(file, number), _class_number(label)
        (classes,) = label.nonzero()
        if len(classes) != 1 or label[classes[0]] != 1:
            raise RejectedRecording("its label is not one-hot")
        return self.x.row(file, number), int(classes[0])


def _class_number(label: np.ndarray) -> int:
    if label.dtype.kind == "f" or not 0 <= label <= LARGEST:
        raise RejectedRecording("its label is not a whole number from 0")
    return int(label)


def _find_sides(uri: str, file: pa.NativeFile) -> dict[str, _Side]:
    """Find the arrays of both sides. Raises UserError where they do not fit together."""
    return {side: _find_side(uri, file, side) for side in SIDES}


def _label_parts(sides: dict[str, _Side], file: pa.NativeFile) -> Iterator[bytes]:
    """Read the labels of both sides, some at a time."""
    for rows in sides.values():
        yield from rows.y.parts(file)


def _find_side(uri: str, file: pa.NativeFile, side: str) -> _Side:
    x = _find_array(uri, file, f"x_{side}")
    y = _find_array(uri, file, f"y_{side}")
    if len(x.shape) != 3 or len(y.shape) not in (1, 2) or not x.row_bytes or not y.row_bytes:
        raise UserError(
            f"{uri}: x_{side} has shape {list(x.shape)} and y_{side} {list(y.shape)}, "
            "expected [clips, frames, numbers] and [clips, classes] or [clips]"
        )
    if x.rows != y.rows:
        raise UserError(f"{uri}: x_{side} has {x.rows} clips, y_{side} {y.rows}")
    return _Side(x, y)


def _find_array(uri: str, file: pa.NativeFile, name: str) -> StoredArray:
    """Find an array in an npz file.

    Raises:
        UserError: it is missing, compressed or damaged, or holds no numbers.
    """
    entry = _find_entry(uri, file, name)
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & ENCRYPTED:
        raise UserError(
            f"{uri}: {name} is compressed and can only be read as a whole; store it again: "
            "np.savez('stored.npz', **np.load('this.npz'))"
        )
    begin = _content_of(entry, file)
    if begin is None or begin + entry.file_size > file.size():
        raise UserError(f"{uri}: damaged: {name} is not where the file says")
    return find_array(f"{uri}: {name}", file, begin, entry.file_size)


def _find_entry(uri: str, file: pa.NativeFile, name: str) -> zipfile.ZipInfo:
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.getinfo(f"{name}.npy")
    except KeyError:
        raise UserError(
            f"{uri}: holds no array {name}; x_train, y_train, x_test and y_test are expected"
        ) from None
    except Exception as error:  # A damaged directory may fail in any way.
        raise UserError(f"{uri}: not a readable npz file ({first_line(error)})") from None


def _content_of(entry: zipfile.ZipInfo, file: pa.NativeFile) -> int | None:
    """Return the byte where the content of an entry begins, None where its header is not there.

    Before the content stand a header, the name, and an extra field.
    """
    if not 0 <= entry.header_offset < file.size():
        return None
    header = file.read_at(LOCAL_HEADER, entry.header_offset)
    if header[:4] != LOCAL_MAGIC:
        return None
    begin = entry.header_offset + LOCAL_HEADER
    for position in LOCAL_LENGTHS:
        begin += int.from_bytes(header[position : position + 2], "little")
    return begin
