"""NTU RGB+D as the npz files of CTR-GCN and those that follow it (Chen et al., ICCV 2021): `NTU60_CS.npz` and others.

    x_train, x_test    [N, T, M * V * 3]: the persons of a frame one after another; zeros from a
    clip's end to T y_train, y_test    [N, classes]: one-hot

Who was recorded and by which camera is not in these files: a clip is called by its side and its
number from 1, `train-00001`, and its side is its split. Their coordinates are already relative to
the first person's spine in the first frame.

`np.savez` stores arrays as they are, so a row is read where it lies and nothing else is; the
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
from pipeline.ingest.decode import container, npy
from pipeline.ingest.recording import Parse, RawRecording, RecordingReader
from pipeline.ingest.source import MAX_BYTES, Listing, Member, RejectedRecording
from pipeline.ingest.tracks import bodies_of

SIDES = ("train", "test")
LOCAL_HEADER = 30
PART = 4 << 20


@dataclass(frozen=True)
class CtrgcnNpz(RecordingReader):
    """One npz: data.raw is the file, or a folder that holds it and no other."""

    name: ClassVar[str] = "ctrgcn_npz"
    fps: float = 30.0
    axes: str = "metres from the first person's spine in the first frame: x to the camera's left, y up, z away from it"

    def listing(self, sources: Sequence[str]) -> Listing:
        """Return a member a row. Raises UserError for a file that is no such npz, or compressed."""
        found = container.find(sources, ".npz")
        with container.opened(found.uri) as file:
            sides = {side: _Side.of(found.uri, file, side) for side in SIDES}
            facts = container.digest(part for rows in sides.values() for part in rows.y.parts(file))
        members = [
            Member(name := f"{side}-{number:05}", name, rows.x.row_bytes)
            for side, rows in sides.items()
            for number in range(1, rows.x.rows + 1)
        ]
        if not members:
            raise UserError(f"{found.uri}: holds no recordings (its arrays have no rows)")
        return Listing(sorted(members), found.ignored, facts=facts)

    @contextmanager
    def opened(self, sources: Sequence[str], joints: int) -> Iterator[Parse]:
        uri = container.find(sources, ".npz").uri
        with container.opened(uri) as file:
            sides = {side: _Side.of(uri, file, side) for side in SIDES}
            for rows in sides.values():
                width = rows.x.shape[2]
                if width % (joints * 3):
                    raise UserError(
                        f"{uri}: frames of {width} numbers are not persons of {joints} joints"
                    )

            def parse(member: Member) -> list[RawRecording]:
                side, _, number = member.name.partition("-")
                x, label = sides[side].row(file, int(number) - 1)
                with np.errstate(invalid="ignore"):  # whatever is not a number is not zero
                    (seen,) = x.any(axis=1).nonzero()
                if not len(seen):
                    raise RejectedRecording("every frame is zero")
                frames = x[: seen[-1] + 1].reshape(seen[-1] + 1, -1, joints, 3)
                bodies = bodies_of(frames.swapaxes(0, 1))
                return [
                    RawRecording(
                        member.name, performance=member.name, label=label, split=(side,), **bodies
                    )
                ]

            yield parse


@dataclass(frozen=True)
class _Stored:
    """An array that lies uncompressed in a file, its rows one after another from byte `start` on."""

    start: int
    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def rows(self) -> int:
        return self.shape[0]

    @property
    def row_bytes(self) -> int:
        return int(np.prod(self.shape[1:])) * self.dtype.itemsize

    def row(self, file: pa.NativeFile, number: int) -> np.ndarray:
        data = file.read_at(self.row_bytes, self.start + number * self.row_bytes)
        return np.frombuffer(data, self.dtype).reshape(self.shape[1:])

    def parts(self, file: pa.NativeFile) -> Iterator[bytes]:
        """All numbers, some at a time."""
        end = self.start + self.rows * self.row_bytes
        yield from (file.read_at(min(PART, end - at), at) for at in range(self.start, end, PART))


@dataclass(frozen=True)
class _Side:
    """The clips of one side and their labels."""

    x: _Stored
    y: _Stored

    @classmethod
    def of(cls, uri: str, file: pa.NativeFile, side: str) -> "_Side":
        x, y = (_stored(uri, file, f"{name}_{side}") for name in "xy")
        if len(x.shape) != 3 or len(y.shape) != 2 or not x.row_bytes or not y.row_bytes:
            raise UserError(
                f"{uri}: x_{side} has shape {list(x.shape)} and y_{side} {list(y.shape)}, "
                "expected [clips, frames, numbers] and [clips, classes]"
            )
        if x.rows != y.rows:
            raise UserError(f"{uri}: x_{side} has {x.rows} clips, y_{side} {y.rows}")
        if x.row_bytes > MAX_BYTES:
            raise UserError(f"{uri}: a clip of x_{side} is larger than {MAX_BYTES >> 20} MiB")
        return cls(x, y)

    def row(self, file: pa.NativeFile, number: int) -> tuple[np.ndarray, int]:
        """A clip, [T, M * V * 3], and its label."""
        one_hot = self.y.row(file, number)
        (classes,) = one_hot.nonzero()
        if len(classes) != 1 or one_hot[classes[0]] != 1:
            raise RejectedRecording("its label is not one-hot")
        return self.x.row(file, number), int(classes[0])


def _stored(uri: str, file: pa.NativeFile, name: str) -> _Stored:
    """Find an array in an npz file. Raises UserError where it is missing, compressed, damaged or holds no numbers."""
    try:
        with zipfile.ZipFile(file) as archive:
            entry = archive.getinfo(f"{name}.npy")
    except KeyError:
        raise UserError(
            f"{uri}: holds no array {name}; x_train, y_train, x_test and y_test are expected"
        ) from None
    except Exception as error:  # a damaged directory may fail in any way
        raise UserError(f"{uri}: not a readable npz file ({first_line(error)})") from None
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
        raise UserError(
            f"{uri}: {name} is compressed and can only be read as a whole; store it again: "
            "np.savez('stored.npz', **np.load('this.npz'))"
        )
    local = (
        file.read_at(LOCAL_HEADER, entry.header_offset)
        if 0 <= entry.header_offset < file.size()
        else b""
    )
    begin = (
        entry.header_offset
        + LOCAL_HEADER
        + sum(int.from_bytes(local[at : at + 2], "little") for at in (26, 28))
    )
    if local[:4] != b"PK\3\4" or begin + entry.file_size > file.size():
        raise UserError(f"{uri}: damaged: {name} is not where the file says")
    try:
        header = npy.read_header(file.read_at(min(entry.file_size, npy.HEADER_BYTES + 12), begin))
        header.require(entry.file_size)
    except RejectedRecording as reason:
        raise UserError(f"{uri}: {name}: {reason}") from None
    if header.fortran:
        raise UserError(f"{uri}: {name} is stored by columns; store np.ascontiguousarray of it")
    return _Stored(begin + header.start, header.dtype, header.shape)
