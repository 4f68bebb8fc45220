"""The files of PKU-MMD: which is what, and what label and split files say.

    skeleton*/STEM-V.txt    a video's skeletons label*/STEM-V.txt       one line an action: label
    (from 1), first frame, last frame (both from 1), confidence cross*subject*.txt      headings and
    lists of videos, for training and for testing (without one, the rest) cross*view*.txt

V is the camera, L, M or R; STEM is four digits in phase I and AaaNnn in phase II. The files may lie
in several places and have any names of this form (PKU_Skeleton_Renew, Train_Label_PKU_final,
cross_view_v2.txt): what a STEM-V.txt is, says the innermost folder with `skel` or `label` in its
name, or else the name of the source itself.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.ingest import source
from pipeline.ingest.recording import Rejected
from pipeline.ingest.source import Member, Read, RejectedRecording

SUFFIX = ".txt"
WHAT = f"skeleton*/STEM-V{SUFFIX} file"
CAMERAS = {"L": 1, "M": 2, "R": 3}
VIDEO = re.compile(r"(?<![\w-])(\w+)-([LMR])(?![\w-])", re.ASCII)
# In phase II's names; what its cross-subject split tests on is exactly N02, N03 and N07.
SUBJECT = re.compile(r"A\d+N(\d+)", re.ASCII)
SPLIT = re.compile(r"cross.?(subject|view).*\.txt", re.ASCII | re.IGNORECASE)
INTERVAL = re.compile(
    r"\s*(\d{1,9})\s*,\s*(\d{1,9})\s*,\s*(\d{1,9})\s*,\s*\d{1,9}\s*,?\s*", re.ASCII
)


class Video(NamedTuple):
    """What a file name says; as a string STEM-V."""

    stem: str
    view: str

    @classmethod
    def of(cls, member: Member) -> "Video | None":
        match = VIDEO.fullmatch(member.name.removesuffix(SUFFIX))
        return cls(*match.groups()) if match else None

    def __str__(self) -> str:
        return f"{self.stem}-{self.view}"

    @property
    def camera(self) -> int:
        return CAMERAS[self.view]

    @property
    def subject(self) -> int | None:
        match = SUBJECT.fullmatch(self.stem)
        return int(match[1]) if match else None


class Interval(NamedTuple):
    """An action as a label file states it."""

    label: int
    first: int
    last: int


@dataclass(frozen=True)
class Labels:
    """What a label file holds: its intervals in its order, each once, and what is wrong with its other lines."""

    intervals: list[Interval]
    rejected: list[Rejected]


@dataclass(frozen=True)
class Files:
    """What some sources hold.

    Attributes:
        skeletons: the videos.
        labels: the label files of every video, which should be one.
        splits: the file of each split that there is.
        ignored: how many other files there are.
    """

    sources: tuple[str, ...]
    skeletons: list[Member]
    labels: dict[Video, list[Member]]
    splits: dict[str, Member]
    ignored: int

    def place(self, member: Member) -> str:
        return storage.join(self.sources[member.source], member.path)


def find(sources: Sequence[str]) -> Files:
    """Tell the files of some sources apart. Raises UserError where there is no video, or a split has several files."""
    found = source.listing(sources, lambda path: path.suffix == SUFFIX, WHAT)
    files = Files(tuple(sources), [], {}, {}, found.ignored)
    others = 0
    for member in found.members:
        split, video, kind = SPLIT.search(member.name), Video.of(member), _kind(member, sources)
        if split:
            first = files.splits.setdefault(f"cross_{split[1].lower()}", member)
            if first is not member:
                places = f"{files.place(first)} and {files.place(member)}"
                raise UserError(
                    f"{places}: two files of one split; name the places of one phase only"
                )
        elif video and kind == "skel":
            files.skeletons.append(member)
        elif video and kind == "label":
            files.labels.setdefault(video, []).append(member)
        else:
            others += 1
    if not files.skeletons:
        raise UserError(f"{', '.join(sources)}: holds no recordings (no {WHAT})")
    return Files(files.sources, files.skeletons, files.labels, files.splits, found.ignored + others)


def _kind(member: Member, sources: Sequence[str]) -> str | None:
    """Return `skel` or `label`, whichever is in the name of the innermost folder, or source, that has one of them."""
    folders = (storage.name(sources[member.source]), *PurePosixPath(member.path).parent.parts)
    for folder in reversed(folders):
        words = [word for word in ("skel", "label") if word in folder.lower()]
        if len(words) == 1:
            return words[0]
    return None


def read_training(split: str, files: Files, read: Read) -> frozenset[str]:
    """Return the videos that a split names for training, as STEM-V.

    A file that was cut off would make training videos ones for testing. So where it has a heading
    for these, it has to name every video of the sources in one of its lists. Where it has none, it
    has to end with a line end or the name of a video: a cut between two names is not to be seen.
    Names of videos that the sources do not hold are passed over.

    Raises:
        UserError: it cannot be read, is cut off or contradicts itself, or names none of the videos
            for training.
    """
    member = files.splits[split]
    place, videos = files.place(member), {str(Video.of(member)) for member in files.skeletons}
    try:
        text = read(member).decode("latin-1")
    except RejectedRecording as reason:
        raise UserError(f"{place}: {reason}") from None
    lists: dict[str, set[str]] = {"training": set()}
    side = "training"
    for line in text.splitlines():
        heading = VIDEO.sub("", line).lower()
        if "train" in heading:
            side = "training"
        elif "test" in heading or "val" in heading:
            side = "testing"
        lists.setdefault(side, set()).update(match[0] for match in VIDEO.finditer(line))
    training, testing = lists["training"], lists.get("testing")
    if not training & videos:
        raise UserError(f"{place}: names none of the {len(videos)} videos for training")
    if testing is None:
        last = re.split(r"[\s,]+", text.rstrip(" ,\t"))[-1]
        if last and last.removesuffix(SUFFIX) not in videos:
            raise UserError(
                f"{place}: cut off? It ends with {last[-40:]!r}, no video and no line end"
            )
    elif wrong := sorted(videos - (training ^ testing)):
        others = f" and {len(wrong) - 1} more" * (len(wrong) > 1)
        raise UserError(
            f"{place}: video {wrong[0]}{others} in neither of its lists, or in both: "
            "is the file cut off, or of another phase?"
        )
    return frozenset(training)


def read_labels(video: Video, files: Files, read: Read) -> Labels:
    """Read the label file of a video. Raises RejectedRecording where there is none, several, or no interval in it."""
    found = files.labels.get(video, [])
    if not found:
        raise RejectedRecording(f"no label file {video}{SUFFIX}")
    if len(found) > 1:
        raise RejectedRecording(
            f"several label files: {' and '.join(member.path for member in found)}"
        )
    path = found[0].path
    try:
        data = read(found[0])
    except RejectedRecording as reason:
        raise RejectedRecording(f"label file {path}: {reason}") from None
    if not data.isascii():
        raise RejectedRecording(f"label file {path}: not plain text")
    intervals: dict[Interval, int] = {}
    rejected = []
    for number, line in enumerate(data.decode().split("\n"), 1):
        match, where = INTERVAL.fullmatch(line), f"{path}, line {number}"
        if match:
            first = intervals.setdefault(Interval(*map(int, match.groups())), number)
            if first != number:
                rejected.append(Rejected(where, f"the same as line {first}"))
        elif line.strip():
            rejected.append(
                Rejected(where, f"not label,first,last,confidence: {line.strip()[:40]!r}")
            )
    if not intervals:
        raise RejectedRecording(f"label file {path}: no interval")
    return Labels(list(intervals), rejected)
