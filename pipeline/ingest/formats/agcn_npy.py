"""Arrays of the line of ST-GCN and 2s-AGCN, which CMD and UmURL use too: `train_data_joint.npy`.

A folder holds for each part of the data, as `train` and `val`:

    {part}_data_joint.npy    [N, 3, T, V, M]: the clips; zeros where nobody is, and after their ends
    {part}_label.pkl         (names, labels): N names, as `S001C001P001R001A001.skeleton`
    {part}_num_frame.npy     [N]: the frames of each clip. It may be missing

The arrays may also be called `{part}_data.npy` (ST-GCN) or `{part}_position.npy` (AimCLR). A part
is a split. Where names are those of NTU RGB+D they say who, where and how often. The label is the
pickle's, see `ntu_labels`.

A clip is cut to its number of frames. Where there is no such number, the empty frames at its end
are taken off. 2s-AGCN leaves none: it repeats a clip until it fills T.

A row is read where it lies and nothing else is. The checksum of the whole array, gigabytes, is not
computed. A pickle is not trusted, see `pipeline.ingest.decode.pickles`.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import pyarrow as pa

from pipeline.core.errors import UserError
from pipeline.ingest.decode import container
from pipeline.ingest.decode.stored import StoredArray, find_array
from pipeline.ingest.formats.agcn_files import (
    AllFiles,
    PartFiles,
    PartLabels,
    find_parts,
    load_labels,
)
from pipeline.ingest.formats.ntu_labels import Numbering
from pipeline.ingest.recording import KINECT_AXES, Parse, RawRecording, RecordingReader
from pipeline.ingest.source import Listing, Member, RejectedRecording
from pipeline.ingest.tracks import bodies_of


@dataclass(frozen=True)
class AgcnNpy(RecordingReader):
    """Arrays and pickles of labels: data.raw is the folder that holds them."""

    name: ClassVar[str] = "agcn_npy"
    fps: float = 30.0
    axes: str = KINECT_AXES

    def listing(self, sources: Sequence[str]) -> Listing:
        """Return a member a row.

        Raises:
            UserError: files are missing, damaged or refused, or do not fit together.
        """
        files = find_parts(sources)
        clips = _clips_of(files)
        members = []
        facts = []
        for number, part in enumerate(files.parts):
            labels = clips.labels[number]
            with container.opened(part.data.uri) as file:
                array = _find_clips(part, file, len(labels.names))
            for row, name in enumerate(labels.names):
                path = f"{part.name}/{row}/{name}"
                members.append(Member(name, path, array.row_bytes, number))
            facts.append(f"{part.name}\t{labels.labels}\t{labels.frames}".encode())
        return Listing(
            sorted(members),
            files.ignored,
            facts=container.digest(facts),
            notes=clips.numbering.notes(),
        )

    @contextmanager
    def opened(self, sources: Sequence[str], joints: int) -> Iterator[Parse]:
        """See `RecordingReader.opened`.

        Raises:
            UserError: the clips have another number of joints.
        """
        files = find_parts(sources)
        clips = _clips_of(files)
        with ExitStack() as stack:
            parts = []
            for part, labels in zip(files.parts, clips.labels, strict=True):
                file = stack.enter_context(container.opened(part.data.uri))
                array = _find_clips(part, file, len(labels.names))
                if array.shape[3] != joints:
                    raise UserError(
                        f"{part.data.uri}: clips of {array.shape[3]} joints, {joints} are expected "
                        "(data.skeleton)"
                    )
                parts.append(_OpenPart(part.name, file, array, labels))

            def parse(member: Member) -> list[RawRecording]:
                part = parts[member.source]
                row = member.path.removeprefix(f"{part.name}/").partition("/")[0]
                return [part.recording(int(row), clips.numbering)]

            yield parse


@dataclass(frozen=True)
class _Clips:
    """The labels of all parts, and how they number the classes."""

    labels: list[PartLabels]
    numbering: Numbering


@lru_cache(maxsize=1)
def _clips_of(files: AllFiles) -> _Clips:
    """Read all labels. The last ones are kept: sizes and dates tell when files are other ones."""
    labels = [load_labels(part) for part in files.parts]
    named = []
    for part in labels:
        for name, label in zip(part.names, part.labels, strict=True):
            if label is not None:
                named.append((name, label))
    return _Clips(labels, Numbering.of(named))


def _find_clips(part: PartFiles, file: pa.NativeFile, clips: int) -> StoredArray:
    """Find the array of a part. Raises UserError where it does not have the shape that it should.

    Args:
        part: where its files lie.
        file: the opened array.
        clips: how many there are.
    """
    uri = part.data.uri
    array = find_array(uri, file, 0, part.data.size)
    shape = list(array.shape)
    if len(shape) != 5 or shape[1] != 3 or not array.row_bytes:
        raise UserError(f"{uri}: has shape {shape}, expected [clips, 3, frames, joints, persons]")
    if array.rows != clips:
        raise UserError(f"{uri}: holds {array.rows} clips, {part.label.uri} names {clips}")
    return array


@dataclass(frozen=True)
class _OpenPart:
    """A part whose array is open.

    Attributes:
        name: of the part.
        file: the opened array.
        array: where its rows lie.
        labels: names, labels and frames of the rows.
    """

    name: str
    file: pa.NativeFile
    array: StoredArray
    labels: PartLabels

    def recording(self, row: int, numbering: Numbering) -> RawRecording:
        """Read a clip. Raises RejectedRecording where it cannot be used."""
        name = self.labels.names[row]
        if not name.isprintable() or not name:
            raise RejectedRecording("a clip without a name that can be printed")
        identity = numbering.identity(name, self.labels.labels[row])
        clip = self._cut(self.array.row(self.file, row), row)
        return RawRecording(
            **identity,
            split=(self.name,),
            **bodies_of(clip.transpose(3, 1, 2, 0)),
        )

    def _cut(self, clip: np.ndarray, row: int) -> np.ndarray:
        """Take the padding off the end of a clip [3, T, V, M]."""
        frames = clip.shape[1]
        if self.labels.frames is not None:
            number = self.labels.frames[row]
            if not 1 <= number <= frames:
                raise RejectedRecording(f"num_frame is {number}, its array has {frames} frames")
            return clip[:, :number]
        with np.errstate(invalid="ignore"):  # whatever is not a number is not zero
            seen = np.flatnonzero(clip.any(axis=(0, 2, 3)))
        if not len(seen):
            raise RejectedRecording("every frame is zero")
        return clip[:, : seen[-1] + 1]
