"""The files of pyskl and mmaction2: their annotations, and which splits these are in."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.core.errors import UserError
from pipeline.ingest.decode import container
from pipeline.ingest.decode.container import Container
from pipeline.ingest.decode.pickle_values import Array, Span
from pipeline.ingest.decode.pickles import load
from pipeline.ingest.formats.ntu_labels import Numbering, whole_number
from pipeline.ingest.source import MAX_BYTES, Member, RejectedRecording

# The files that mmaction2 writes, without `.pkl`.
PARTS = ("train", "val", "test")

ReadSpan = Callable[[Span], bytes]


@dataclass(frozen=True, slots=True)
class Annotation:
    """An annotation as the file has it; anything may be anything."""

    frame_dir: Any
    label: Any
    total_frames: Any
    keypoint: Any
    score: Any
    img_shape: Any
    split: tuple[str, ...]

    @property
    def facts(self) -> tuple:
        """Label, frames and splits, where they can be used."""
        return (whole_number(self.label), whole_number(self.total_frames), self.split)

    def keypoints(self, read: ReadSpan) -> np.ndarray:
        """Return the key points, [M, T, V, C]. Without persons, [T, V, C] is one.

        Raises:
            RejectedRecording: there are none, or not as many frames as the annotation says.
        """
        points = read_array(self.keypoint, "keypoint", read)
        if points is None:
            raise RejectedRecording("no keypoint array")
        if points.ndim == 3:
            points = points[None]
        return points

    def check_frames(self, frames: int) -> None:
        """Raise RejectedRecording where the annotation says another number of frames."""
        if type(self.total_frames) is not int or self.total_frames != frames:
            raise RejectedRecording(f"total_frames is not {frames}, the number of frames")


@dataclass(frozen=True)
class Annotations:
    """All annotations of some files.

    Attributes:
        of_member: by what their members are called. The source of a member is the number of its
            file.
        numbering: of the labels.
    """

    of_member: dict[Member, Annotation]
    numbering: Numbering


def find_files(sources: Sequence[str]) -> tuple[Container, ...]:
    """Return the pickles: one, or several of which each is a split.

    Raises:
        UserError: there is none, or it is not clear which belong together.
    """
    return container.find_parts(sources, ".pkl", PARTS)


def open_files(files: Iterable[Container], stack: ExitStack) -> list[ReadSpan]:
    """Open files; returns for each what reads a span of it."""
    return [_reader_of(stack.enter_context(container.opened(one.uri))) for one in files]


def _reader_of(file: pa.NativeFile) -> ReadSpan:
    """Return what reads a span of an opened file."""

    def read(span: Span) -> bytes:
        if span.length > MAX_BYTES:
            raise RejectedRecording(f"larger than {MAX_BYTES >> 20} MiB")
        return file.read_at(span.length, span.offset)

    return read


def read_array(value: Any, what: str, read: ReadSpan) -> np.ndarray | None:
    """Return the array of numbers that a pickle holds, None where it is no array.

    Raises:
        RejectedRecording: its shape, type and numbers do not fit together.
    """
    if not isinstance(value, Array):
        return None
    try:
        return value.read(read)
    except ValueError as error:
        raise RejectedRecording(f"{what} is {str(error)[:100]}") from None


def is_name(value: Any) -> bool:
    """Tell whether a value can be the name of a clip."""
    return isinstance(value, str) and value != "" and value.isprintable()


@lru_cache(maxsize=1)
def load_annotations(files: tuple[Container, ...]) -> Annotations:
    """Read the annotations of some files.

    The last files are kept. Their sizes and dates tell when they are other ones.

    Raises:
        UserError: a file is damaged or refused, or holds no annotation.
    """
    of_member: dict[Member, Annotation] = {}
    names: set[str] = set()
    for number, file in enumerate(files):
        entries, split_of = _load_file(file, is_part=len(files) > 1)
        place = ""
        if number:
            place = f"{container.part_name(file)}.pkl: "
        for position, entry in enumerate(entries):
            if not isinstance(entry, dict):
                entry = {}
            # Without a name, or with one that came before, an annotation is called by its number.
            name: str = f"annotations[{position}]"
            if is_name(entry.get("frame_dir")):
                name = entry["frame_dir"]
            path = name
            if name in names:
                path = f"{name} ({place}annotations[{position}])"
            names.add(name)
            keypoint = entry.get("keypoint")
            of_member[Member(name, path, _size_of(keypoint), number)] = Annotation(
                frame_dir=entry.get("frame_dir"),
                label=entry.get("label"),
                total_frames=entry.get("total_frames"),
                keypoint=keypoint,
                score=entry.get("keypoint_score"),
                img_shape=entry.get("img_shape"),
                split=split_of(name),
            )
    return Annotations(of_member, _numbering_of(of_member))


def _numbering_of(of_member: dict[Member, Annotation]) -> Numbering:
    clips = []
    for member, annotation in of_member.items():
        label = whole_number(annotation.label)
        if label is not None:
            clips.append((member.name, label))
    return Numbering.of(clips)


def _load_file(
    file: Container, is_part: bool
) -> tuple[list[Any], Callable[[str], tuple[str, ...]]]:
    """Return what a file holds as annotations, and what tells the splits of a name.

    Args:
        file: where it lies.
        is_part: True where it is one of several. Then, if it says nothing of splits, it is one.
    """
    uri = file.uri
    with container.opened(uri) as opened:
        content = load(uri, opened)
        entries = content
        splits: Any = {}
        if isinstance(content, dict):
            entries = content.get("annotations")
            splits = content.get("split", {})
        if not isinstance(entries, list) or not entries:
            raise UserError(f"{uri}: holds no list of annotations")
        if is_part and not splits:
            whole = (container.part_name(file),)
            return entries, lambda name: whole

        def read(span: Span) -> bytes:
            return opened.read_at(span.length, span.offset)

        split_of = _split_of(uri, splits, file.size, read)
    return entries, lambda name: split_of.get(name, ())


def _size_of(keypoint: Any) -> int:
    """Return how many bytes an array has, 0 where it is none."""
    data = getattr(keypoint, "data", None)
    if isinstance(data, Span):
        return data.length
    if isinstance(data, bytes):
        return len(data)
    return 0


def _split_of(uri: str, splits: Any, size: int, read: ReadSpan) -> dict[str, tuple[str, ...]]:
    """Return the names of the splits that hold each clip.

    Args:
        uri: where the file lies, for messages.
        splits: what it says; anything may be anything.
        size: of the file in bytes. Lists that a pickle repeats may be longer than that together,
            and are refused.
        read: returns the bytes of a span of the file.
    """
    result: dict[str, list[str]] = defaultdict(list)
    for split, names in _split_lists(uri, splits, size, read).items():
        for name in names:
            result[name].append(split)
    # Most clips are in the same splits: one tuple of names is kept for all of these.
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}
    split_of = {}
    for name, found in result.items():
        key = tuple(dict.fromkeys(found))
        split_of[name] = shared.setdefault(key, key)
    return split_of


def _split_lists(uri: str, splits: Any, size: int, read: ReadSpan) -> dict[str, Sequence[str]]:
    """Return the names in each split. For the arguments see `_split_of`.

    Raises:
        UserError: they are no lists of names.
    """
    malformed = UserError(f"{uri}: 'split' is not lists of names")
    if not isinstance(splits, dict):
        raise malformed
    named = 0
    lists: dict[str, Sequence[Any]] = {}
    for split, names in splits.items():
        if isinstance(names, Array):
            try:
                names = names.read_texts(read)
            except ValueError:
                raise malformed from None
        if not isinstance(names, list | tuple):
            raise malformed
        lists[split] = names
        named += len(names)
        if named > size:
            raise malformed
    for split, names in lists.items():
        if not isinstance(split, str) or not all(isinstance(name, str) for name in names):
            raise malformed
    return lists
