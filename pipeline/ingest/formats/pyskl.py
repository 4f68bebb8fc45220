"""3-D annotation pickles of pyskl and mmaction2 (Duan et al., ACM MM 2022): `ntu60_3danno.pkl`.

    {split: {name: [frame_dir, ...], ...},
     annotations: [{frame_dir, label, total_frames, keypoint [M, T, V, 3]}, ...]}

or the list of annotations alone. `keypoint_score` is of estimated poses, not of sensors, and is not
used. 2-D keypoints are rejected. Where `frame_dir` is a name of NTU RGB+D it says who, where and
how often, and must agree with the label.

A file from the internet is not trusted, see `pipeline.ingest.decode.pickles`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from pipeline.core.errors import UserError
from pipeline.ingest.decode import container
from pipeline.ingest.decode.pickle_values import Array, Span
from pipeline.ingest.decode.pickles import load
from pipeline.ingest.formats import ntu
from pipeline.ingest.recording import KINECT_AXES, Parse, RawRecording, RecordingReader
from pipeline.ingest.source import MAX_BYTES, Listing, Member, RejectedRecording
from pipeline.ingest.tracks import LARGEST, bodies_of


@dataclass(frozen=True)
class Pyskl(RecordingReader):
    """One pickle of annotations: data.raw is the file, or a folder that holds it and no other.

    Every process that reads keeps a list of the annotations, without their arrays: some 80 MB for
    NTU RGB+D 60. The arrays are read from the file one at a time.
    """

    name: ClassVar[str] = "pyskl"
    fps: float = 30.0
    axes: str = KINECT_AXES

    def listing(self, sources: Sequence[str]) -> Listing:
        """Return a member an annotation.

        Raises:
            UserError: the file is damaged or refused, or holds no annotation.
        """
        found = container.find(sources, ".pkl")
        annotations = _annotations(found)
        members = sorted(annotations)
        facts = [f"{member.path}\t{annotations[member].facts}".encode() for member in members]
        return Listing(members, found.ignored, facts=container.digest(facts))

    @contextmanager
    def opened(self, sources: Sequence[str], joints: int) -> Iterator[Parse]:
        """See `RecordingReader.opened`."""
        found = container.find(sources, ".pkl")
        annotations = _annotations(found)
        with container.opened(found.uri) as file:

            def read(span: Span) -> bytes:
                if span.length > MAX_BYTES:
                    raise RejectedRecording(f"larger than {MAX_BYTES >> 20} MiB")
                return file.read_at(span.length, span.offset)

            yield lambda member: [annotations[member].recording(read, joints)]


@dataclass(frozen=True, slots=True)
class _Annotation:
    """An annotation as the file has it; anything may be anything."""

    frame_dir: Any
    label: Any
    total_frames: Any
    keypoint: Any
    split: tuple[str, ...]

    @property
    def facts(self) -> tuple:
        """Label, frames and splits, where they can be used."""
        return (_whole_number(self.label), _whole_number(self.total_frames), self.split)

    def recording(self, read: Callable[[Span], bytes], joints: int) -> RawRecording:
        """Return what the annotation says.

        Args:
            read: returns the bytes of a span of the file.
            joints: V of the skeleton layout.

        Raises:
            RejectedRecording: it cannot be used.
        """
        if not _is_name(self.frame_dir):
            raise RejectedRecording("an annotation without a frame_dir that can be printed")
        if type(self.label) is not int or not 0 <= self.label <= LARGEST:
            raise RejectedRecording("label is not a whole number from 0")
        who = _who(self.frame_dir, self.label)
        persons = self._persons(read, joints)
        # As NTU RGB+D's own files say it, so that stores of both know the same performances.
        performance = self.frame_dir
        if who:
            performance = ntu.performance_of(who)
        return RawRecording(
            clip_id=self.frame_dir,
            performance=performance,
            label=self.label,
            subject=who.get("subject"),
            camera=who.get("camera"),
            setup=who.get("setup"),
            replication=who.get("replication"),
            split=self.split,
            **bodies_of(persons),
        )

    def _persons(self, read: Callable[[Span], bytes], joints: int) -> np.ndarray:
        """Return the keypoints, [M, T, V, 3]."""
        if not isinstance(self.keypoint, Array):
            raise RejectedRecording("no keypoint array")
        try:
            persons = self.keypoint.read(read)
        except ValueError as error:
            raise RejectedRecording(f"keypoint is {str(error)[:100]}") from None
        if persons.ndim == 4 and persons.shape[3] == 2:
            raise RejectedRecording("2-D keypoints: only 3-D ones can be used")
        if persons.ndim != 4 or persons.shape[2:] != (joints, 3):
            shape = str(list(persons.shape))[:60]
            raise RejectedRecording(
                f"keypoint has shape {shape}, expected [persons, frames, {joints}, 3]"
            )
        if type(self.total_frames) is not int or self.total_frames != persons.shape[1]:
            raise RejectedRecording(f"total_frames is not {persons.shape[1]}, the number of frames")
        return persons


def _who(frame_dir: str, label: int) -> dict[str, int]:
    """Return what a name of NTU RGB+D says (see `ntu.parse_name`), nothing where it is none."""
    try:
        who = ntu.parse_name(frame_dir + ntu.SUFFIX)
    except RejectedRecording:
        return {}
    if who["label"] != label:
        raise RejectedRecording(f"label is {label}, its name says {who['label']}")
    return who


def _whole_number(value: Any) -> int | None:
    if type(value) is int:
        return value
    return None


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value != "" and value.isprintable()


def _annotations(found: container.Container) -> dict[Member, _Annotation]:
    return _load_annotations(found.uri, found.size, found.modified)


@lru_cache(maxsize=1)
def _load_annotations(uri: str, size: int, modified: int) -> dict[Member, _Annotation]:
    """Read the annotations of a file, by what their members are called.

    The last file is kept. Its size and its date tell when it is another one.
    """
    with container.opened(uri) as file:
        content = load(uri, file)
    entries = content
    splits = {}
    if isinstance(content, dict):
        entries = content.get("annotations")
        splits = content.get("split", {})
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{uri}: holds no list of annotations")
    split_of = _split_of(uri, splits, size)

    annotations: dict[Member, _Annotation] = {}
    names: set[str] = set()
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            entry = {}
        # Without a name, or with one that came before, an annotation is called by its number.
        name: str = f"annotations[{number}]"
        if _is_name(entry.get("frame_dir")):
            name = entry["frame_dir"]
        path = name
        if name in names:
            path = f"{name} (annotations[{number}])"
        names.add(name)
        keypoint = entry.get("keypoint")
        annotations[Member(name, path, _size_of(keypoint))] = _Annotation(
            frame_dir=entry.get("frame_dir"),
            label=entry.get("label"),
            total_frames=entry.get("total_frames"),
            keypoint=keypoint,
            split=split_of.get(name, ()),
        )
    return annotations


def _size_of(keypoint: Any) -> int:
    """Return how many bytes an array has, 0 where it is none."""
    data = getattr(keypoint, "data", None)
    if isinstance(data, Span):
        return data.length
    if isinstance(data, bytes):
        return len(data)
    return 0


def _split_of(uri: str, splits: Any, size: int) -> dict[str, tuple[str, ...]]:
    """Return the names of the splits that hold each clip.

    Args:
        uri: where the file lies, for messages.
        splits: what it says; anything may be anything.
        size: of the file in bytes. Lists that a pickle repeats may be longer than that together,
            and are refused.
    """
    malformed = UserError(f"{uri}: 'split' is not lists of names")
    if not isinstance(splits, dict):
        raise malformed
    named = 0
    for names in splits.values():
        if not isinstance(names, list | tuple):
            raise malformed
        named += len(names)
    if named > size:
        raise malformed
    result: dict[str, list[str]] = defaultdict(list)
    for split, names in splits.items():
        if not isinstance(split, str) or not all(isinstance(name, str) for name in names):
            raise malformed
        for name in names:
            result[name].append(split)
    # Most clips are in the same splits: one tuple of names is kept for all of these.
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}
    split_of = {}
    for name, found in result.items():
        key = tuple(dict.fromkeys(found))
        split_of[name] = shared.setdefault(key, key)
    return split_of
