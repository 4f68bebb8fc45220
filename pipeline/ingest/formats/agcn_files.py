"""The files of the line of ST-GCN and 2s-AGCN: which belong together, and what the labels say."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pyarrow import fs

from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.ingest.decode import container, npy
from pipeline.ingest.decode.container import Container
from pipeline.ingest.decode.pickle_values import Array, Span
from pipeline.ingest.decode.pickles import load
from pipeline.ingest.formats import ntu
from pipeline.ingest.formats.ntu_labels import class_number
from pipeline.ingest.source import MAX_BYTES, RejectedRecording
from pipeline.ingest.tracks import LARGEST

LABEL = "_label.pkl"
NUM_FRAME = "_num_frame.npy"
# The first that there is. Others beside it, as of bones and motions, are made of it.
DATA = ("_data_joint.npy", "_data.npy", "_position.npy")
EXPECTED = f"train{DATA[0]}, train{LABEL}, val{DATA[0]} and val{LABEL}"


@dataclass(frozen=True)
class PartFiles:
    """The files of a part.

    Attributes:
        name: of the part, as `train`.
        data: the clips.
        label: names and labels.
        num_frame: the frames of the clips, None where no file says them.
    """

    name: str
    data: Container
    label: Container
    num_frame: Container | None


@dataclass(frozen=True)
class AllFiles:
    """The files of all parts.

    Attributes:
        parts: sorted by name.
        ignored: how many other files lie beside them.
    """

    parts: tuple[PartFiles, ...]
    ignored: int


@dataclass(frozen=True)
class PartLabels:
    """What a part says of its clips.

    Attributes:
        names: without `.skeleton`.
        labels: from 0; None where it is no such number.
        frames: the number of frames of each, None where no file says it.
    """

    names: list[str]
    labels: list[int | None]
    frames: list[int] | None


def find_parts(sources: Sequence[str]) -> AllFiles:
    """Find the files of all parts in a folder.

    Raises:
        UserError: there is not one folder with them, or some are missing.
    """
    shown = ", ".join(sources)
    found: dict[str, Container] = {}
    for uri in sources:
        info = storage.info(uri)
        if info.type == fs.FileType.NotFound:
            raise UserError(f"{uri}: recordings not found")
        if info.type == fs.FileType.File:
            raise UserError(f"{uri}: is a file; name the folder that holds {EXPECTED} (data.raw)")
        base = storage.resolve(uri)[1].rstrip("/")
        for file in storage.files(uri, recursive=True):
            path = file.path.removeprefix(base).lstrip("/")
            place = storage.join(uri, path)
            if not file.base_name.startswith("."):
                found[place] = Container(place, file.size, file.mtime_ns or 0, 0)
    labels = []
    for place in sorted(found):
        if storage.name(place).endswith(LABEL):
            labels.append(place)
    if not labels:
        raise UserError(f"{shown}: holds no *{LABEL}; {EXPECTED} are expected")
    folders = sorted({container.folder_of(place) for place in labels})
    if len(folders) > 1:
        raise UserError(
            f"{shown}: holds {len(folders)} folders with *{LABEL} ({', '.join(folders[:3])}); "
            "name one (data.raw=...)"
        )
    parts = tuple(_part(found, place) for place in labels)
    used = sum(2 + (part.num_frame is not None) for part in parts)
    return AllFiles(parts, len(found) - used)


def _part(found: dict[str, Container], label: str) -> PartFiles:
    """Find what belongs to a file of labels. Raises UserError where there are no clips."""
    base, options = storage.split_options(label)
    start = base.removesuffix(LABEL)
    for suffix in DATA:
        data = found.get(f"{start}{suffix}{options}")
        if data is not None:
            num_frame = found.get(f"{start}{NUM_FRAME}{options}")
            return PartFiles(storage.name(start), data, found[label], num_frame)
    names = ", ".join(f"{storage.name(start)}{suffix}" for suffix in DATA)
    raise UserError(f"{label}: its clips are not beside it; one of {names} is expected")


def load_labels(part: PartFiles) -> PartLabels:
    """Read names, labels and numbers of frames of a part.

    Raises:
        UserError: they cannot be read, or are not equally many.
    """
    uri = part.label.uri
    expected = f"{uri}: (names, labels) is expected, two lists of one length"
    with container.opened(uri) as file:
        content = load(uri, file)
        if not isinstance(content, list | tuple) or len(content) != 2:
            raise UserError(expected)

        def read(span: Span) -> bytes:
            return file.read_at(span.length, span.offset)

        try:
            names = content[0]
            if isinstance(names, Array):
                names = names.read_texts(read)
            labels = content[1]
            if isinstance(labels, Array):
                labels = labels.read(read).tolist()
        except ValueError as error:
            raise UserError(f"{expected}, not {str(error)[:80]}") from None
    are_lists = isinstance(names, list | tuple) and isinstance(labels, list | tuple)
    if not are_lists or len(names) != len(labels) or not names:
        raise UserError(expected)
    if not all(isinstance(name, str) for name in names):
        raise UserError(f"{uri}: a name is not a text")
    return PartLabels(
        [name.removesuffix(ntu.SUFFIX) for name in names],
        [class_number(label) for label in labels],
        _frames(part, len(names)),
    )


def _frames(part: PartFiles, clips: int) -> list[int] | None:
    """Read the number of frames of every clip, None where no file says it."""
    if part.num_frame is None:
        return None
    uri = part.num_frame.uri
    if part.num_frame.size > MAX_BYTES:
        raise UserError(f"{uri}: larger than {MAX_BYTES >> 20} MiB")
    try:
        numbers = npy.parse(storage.read_bytes(uri))
    except RejectedRecording as reason:
        raise UserError(f"{uri}: {reason}") from None
    whole = np.isfinite(numbers) & (numbers == np.floor(numbers)) & (np.abs(numbers) < LARGEST)
    if numbers.shape != (clips,) or not whole.all():
        raise UserError(
            f"{uri}: shape {list(numbers.shape)}, expected whole numbers of the {clips} clips of "
            f"{storage.name(part.label.uri)}"
        )
    return [int(number) for number in numbers]
