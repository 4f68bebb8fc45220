"""Annotation pickles of pyskl and mmaction2 (Duan et al., ACM MM 2022), 3-D: `ntu60_3danno.pkl` and the like.

    {split: {name: [frame_dir, ...], ...},
     annotations: [{frame_dir, label, total_frames, keypoint [M, T, V, 3]}, ...]}

or the list of annotations alone. `keypoint_score` is of estimated poses, not of sensors, and is not
used; 2-D keypoints are rejected. Where `frame_dir` is a name of NTU RGB+D it says who, where and
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
from pipeline.ingest.decode.pickles import Array, Span, load
from pipeline.ingest.formats import ntu
from pipeline.ingest.recording import KINECT_AXES, Parse, RawRecording, RecordingReader
from pipeline.ingest.source import MAX_BYTES, Listing, Member, RejectedRecording
from pipeline.ingest.tracks import LARGEST, bodies_of

# As of NTU RGB+D's own files, so that stores of both know the same performances.
PERFORMANCE = "S{setup:03}P{subject:03}R{replication:03}L{label:03}"


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
        """Return a member an annotation. Raises UserError for a file that is damaged or refused, or holds none."""
        found = container.find(sources, ".pkl")
        annotations = dict(sorted(_annotations(found).items()))
        facts = container.digest(
            f"{member.path}\t{entry.facts}".encode() for member, entry in annotations.items()
        )
        return Listing(list(annotations), found.ignored, facts=facts)

    @contextmanager
    def opened(self, sources: Sequence[str], joints: int) -> Iterator[Parse]:
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
        return *(
            value if type(value) is int else None for value in (self.label, self.total_frames)
        ), self.split

    def recording(self, read: Callable[[Span], bytes], joints: int) -> RawRecording:
        if not _is_name(self.frame_dir):
            raise RejectedRecording("an annotation without a frame_dir that can be printed")
        if type(self.label) is not int or not 0 <= self.label <= LARGEST:
            raise RejectedRecording("label is not a whole number from 0")
        who = _who(self.frame_dir, self.label)
        persons = self._persons(read, joints)
        return RawRecording(
            clip_id=self.frame_dir,
            performance=PERFORMANCE.format(**who) if "camera" in who else self.frame_dir,
            split=self.split,
            **who,
            **bodies_of(persons),
        )

    def _persons(self, read: Callable[[Span], bytes], joints: int) -> np.ndarray:
        """The keypoints, [M, T, V, 3]."""
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
    """Label, and setup, camera, subject and replication where the name is one of NTU RGB+D."""
    try:
        who = ntu.parse_name(frame_dir + ntu.Ntu.suffix)
    except RejectedRecording:
        return {"label": label}
    if who["label"] != label:
        raise RejectedRecording(f"label is {label}, its name says {who['label']}")
    return who


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value != "" and value.isprintable()


def _annotations(found: container.Container) -> dict[Member, _Annotation]:
    return _loaded(found.uri, found.size, found.modified)


@lru_cache(maxsize=1)
def _loaded(uri: str, size: int, modified: int) -> dict[Member, _Annotation]:
    """The annotations of a file by what their members are called; size and time tell when it is another file."""
    with container.opened(uri) as file:
        content = load(uri, file)
    annotations, splits = content, {}
    if isinstance(content, dict):
        annotations, splits = content.get("annotations"), content.get("split", {})
    if not isinstance(annotations, list) or not annotations:
        raise UserError(f"{uri}: holds no list of annotations")
    split_of = _split_of(uri, splits, size)
    result: dict[Member, _Annotation] = {}
    names: set[str] = set()
    for number, entry in enumerate(annotations):
        entry = entry if isinstance(entry, dict) else {}
        name = entry.get("frame_dir")
        values = [entry.get(key) for key in ("label", "total_frames", "keypoint")]
        known = name if _is_name(name) else f"annotations[{number}]"
        path = known if known not in names else f"{known} (annotations[{number}])"
        names.add(known)
        data = getattr(values[2], "data", None)
        length = (
            data.length if isinstance(data, Span) else len(data) if isinstance(data, bytes) else 0
        )
        result[Member(known, path, length)] = _Annotation(name, *values, split_of.get(known, ()))
    return result


def _split_of(uri: str, splits: Any, size: int) -> dict[str, tuple[str, ...]]:
    """The names of the splits that hold each clip."""
    lists = splits.values() if isinstance(splits, dict) else [None]
    if not all(isinstance(names, list | tuple) for names in lists) or sum(map(len, lists)) > size:
        raise UserError(f"{uri}: 'split' is not lists of names")
    result: dict[str, list[str]] = defaultdict(list)
    for split, names in splits.items():
        if not isinstance(split, str) or not all(isinstance(name, str) for name in names):
            raise UserError(f"{uri}: 'split' is not lists of names")
        for name in names:
            result[name].append(split)
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}
    return {
        name: shared.setdefault(key := tuple(dict.fromkeys(found)), key)
        for name, found in result.items()
    }
