"""The files of PKU-MMD: which is what, and what label and split files say.

    skeleton*/STEM-V.txt    a video's skeletons
    label*/STEM-V.txt       one line an action: label (from 1), first frame, last frame (both from
                            1), confidence
    cross*subject*.txt      headings and lists of videos, for training and for testing; without a
                            list for testing, the other videos
    cross*view*.txt         the same

V is the camera, L, M or R. STEM is four digits in phase I and AaaNnn in phase II. The files may lie
in several places and have any names of this form (PKU_Skeleton_Renew, Train_Label_PKU_final,
cross_view_v2.txt). What a STEM-V.txt is, says the innermost folder with `skel` or `label` in its
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
from pipeline.ingest.decode.text import plain_text
from pipeline.ingest.recording import Rejected
from pipeline.ingest.source import Member, Read, RejectedRecording

SUFFIX = ".txt"
WHAT = f"skeleton*/STEM-V{SUFFIX} file"
SKELETONS = "skel"
LABELS = "label"

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
        """Return the video that a member is about, None where its name is no STEM-V."""
        match = VIDEO.fullmatch(member.name.removesuffix(SUFFIX))
        if match is None:
            return None
        return cls(*match.groups())

    def __str__(self) -> str:
        return f"{self.stem}-{self.view}"

    @property
    def camera(self) -> int:
        """The number of the camera, from 1."""
        return CAMERAS[self.view]

    @property
    def subject(self) -> int | None:
        """The number of the subject, None in phase I, whose names do not say it."""
        match = SUBJECT.fullmatch(self.stem)
        if match is None:
            return None
        return int(match[1])


class Interval(NamedTuple):
    """An action as a label file states it."""

    label: int
    first: int
    last: int


@dataclass(frozen=True)
class VideoLabels:
    """What a label file holds.

    Attributes:
        intervals: each once, in the order of the file.
        rejected: its other lines, and what is wrong with them.
    """

    intervals: list[Interval]
    rejected: list[Rejected]


@dataclass(frozen=True)
class PkuFiles:
    """What some sources hold.

    Attributes:
        sources: directories and zip files.
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

    def locate(self, member: Member) -> str:
        """Return where a member lies, for messages."""
        return storage.join(self.sources[member.source], member.path)


def find(sources: Sequence[str]) -> PkuFiles:
    """Tell the files of some sources apart.

    Raises:
        UserError: there is no video, or a split has several files.
    """
    listing = source.listing(sources, lambda path: path.suffix == SUFFIX, WHAT)
    skeletons: list[Member] = []
    labels: dict[Video, list[Member]] = {}
    splits: dict[str, Member] = {}
    others = 0
    for member in listing.members:
        split = SPLIT.search(member.name)
        video = Video.of(member)
        kind = _kind(member, sources)
        if split:
            _add_split(splits, f"cross_{split[1].lower()}", member, sources)
        elif video and kind == SKELETONS:
            skeletons.append(member)
        elif video and kind == LABELS:
            labels.setdefault(video, []).append(member)
        else:
            others += 1
    if not skeletons:
        raise UserError(f"{', '.join(sources)}: holds no recordings (no {WHAT})")
    return PkuFiles(tuple(sources), skeletons, labels, splits, listing.ignored + others)


def _add_split(
    splits: dict[str, Member], split: str, member: Member, sources: Sequence[str]
) -> None:
    first = splits.setdefault(split, member)
    if first is not member:
        places = [storage.join(sources[file.source], file.path) for file in (first, member)]
        raise UserError(
            f"{' and '.join(places)}: two files of one split; name the places of one phase only"
        )


def _kind(member: Member, sources: Sequence[str]) -> str | None:
    """Return what a file is about: `skel` or `label`, or None.

    The innermost folder, or the source, that has exactly one of the two words in its name says it.
    """
    folders = (storage.name(sources[member.source]), *PurePosixPath(member.path).parent.parts)
    for folder in reversed(folders):
        words = [word for word in (SKELETONS, LABELS) if word in folder.lower()]
        if len(words) == 1:
            return words[0]
    return None


def read_training(split: str, files: PkuFiles, read: Read) -> frozenset[str]:
    """Read the videos that a split names for training.

    A file that was cut off would make training videos ones for testing. So where it has a heading
    for these, it has to name every video of the sources in one of its lists. Where it has none, it
    has to end with a line end or the name of a video: a cut between two names cannot be seen. Names
    of videos that the sources do not hold are passed over.

    Returns:
        The names, as STEM-V.

    Raises:
        UserError: it cannot be read, is cut off or contradicts itself, or names none of the videos
            for training.
    """
    member = files.splits[split]
    place = files.locate(member)
    videos = {str(Video.of(skeletons)) for skeletons in files.skeletons}
    try:
        text = read(member).decode("latin-1")
    except RejectedRecording as reason:
        raise UserError(f"{place}: {reason}") from None
    training, testing = _read_lists(text)
    if not training & videos:
        raise UserError(f"{place}: names none of the {len(videos)} videos for training")
    if testing is None:
        last = re.split(r"[\s,]+", text.rstrip(" ,\t"))[-1]
        if last and last.removesuffix(SUFFIX) not in videos:
            raise UserError(
                f"{place}: cut off? It ends with {last[-40:]!r}, no video and no line end"
            )
        return frozenset(training)
    # A video belongs into exactly one of the two lists.
    wrong = sorted(videos - (training ^ testing))
    if wrong:
        others = ""
        if len(wrong) > 1:
            others = f" and {len(wrong) - 1} more"
        raise UserError(
            f"{place}: video {wrong[0]}{others} in neither of its lists, or in both: "
            "is the file cut off, or of another phase?"
        )
    return frozenset(training)


def _read_lists(text: str) -> tuple[set[str], set[str] | None]:
    """Return the videos for training and for testing, None where no heading begins a list of these.

    What is left of a line without its videos may be a heading. Videos before the first heading are
    for training.
    """
    training: set[str] = set()
    testing: set[str] | None = None
    in_training = True
    for line in text.splitlines():
        heading = VIDEO.sub("", line).lower()
        if "train" in heading:
            in_training = True
        elif "test" in heading or "val" in heading:
            in_training = False
            testing = testing or set()
        names = [match[0] for match in VIDEO.finditer(line)]
        if in_training or testing is None:
            training.update(names)
        else:
            testing.update(names)
    return training, testing


def read_labels(video: Video, files: PkuFiles, read: Read) -> VideoLabels:
    """Read the label file of a video.

    Raises:
        RejectedRecording: there is none, there are several, or it holds no interval.
    """
    found = files.labels.get(video, [])
    if not found:
        raise RejectedRecording(f"no label file {video}{SUFFIX}")
    if len(found) > 1:
        paths = " and ".join(member.path for member in found)
        raise RejectedRecording(f"several label files: {paths}")
    path = found[0].path
    try:
        data = plain_text(read(found[0]))
    except RejectedRecording as reason:
        raise RejectedRecording(f"label file {path}: {reason}") from None
    intervals: dict[Interval, int] = {}  # to the first line that states it
    rejected = []
    for number, line in enumerate(data.decode().split("\n"), 1):
        where = f"{path}, line {number}"
        match = INTERVAL.fullmatch(line)
        if match:
            label, first, last = (int(group) for group in match.groups())
            first_line = intervals.setdefault(Interval(label, first, last), number)
            if first_line != number:
                rejected.append(Rejected(where, f"the same as line {first_line}"))
        elif line.strip():
            shown = line.strip()[:40]
            rejected.append(Rejected(where, f"not label,first,last,confidence: {shown!r}"))
    if not intervals:
        raise RejectedRecording(f"label file {path}: no interval")
    return VideoLabels(list(intervals), rejected)
