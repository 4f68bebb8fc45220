"""PKU-MMD I and II (Liu et al., arXiv:1703.07475): videos of many actions, as clips or kept whole.

A line of skeletons is a frame: 2 bodies x 25 joints x (x, y, z), metres, NTU's joints. A body of
zeros is not there. Other files and their names: `pku_files`.

Of the 21,545 intervals of phase I three begin at frame 0, which is read as 1, one ends before it
begins, 21 end with the last line of their video and none after it. So an interval that ends after
its video shows that lines are missing. It is rejected, not shortened.

The cameras are not synchronous: an action begins some 60 frames apart in them, at times 1,000. So
the interval does not tell what was recorded together, but the order does. The n-th time that a
label comes in a video is the same performance in all videos of a STEM, if it comes equally often in
all of them (99.7 % of phase I).
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import ClassVar

import numpy as np
import pyarrow as pa

from pipeline.ingest import source
from pipeline.ingest.decode.text import Text, plain_text
from pipeline.ingest.formats import pku_files
from pipeline.ingest.formats.pku_files import CAMERAS, Interval, Video, VideoLabels
from pipeline.ingest.recording import (
    KINECT_AXES,
    Parse,
    RawRecording,
    RecordingReader,
    Rejected,
    Segment,
    check_coordinates,
)
from pipeline.ingest.source import Listing, Member, RejectedRecording

BODIES = 2
# Labels run from 1 to this.
MOST_LABELS = 51

LabelsOf = Callable[[Video], VideoLabels]


@dataclass(frozen=True)
class _VideoFrames:
    """A video as read.

    Attributes:
        video: its name.
        frames: float64 [T, 2, V, 3].
        flaws: what is wrong with its file.
        split: on which side of each split it is.
    """

    video: Video
    frames: np.ndarray
    flaws: tuple[str, ...]
    split: tuple[str, ...]


@dataclass(frozen=True)
class PkuMmd(RecordingReader):
    """PKU-MMD's text files: 30 frames a second, Kinect v2 camera space.

    Attributes:
        end: "included" or "excluded": is the frame that an interval gives as its last part of it?
        untrimmed: one recording a video, with its intervals as segments, instead of one an
            interval.
    """

    name: ClassVar[str] = "pku_mmd"
    end: str
    untrimmed: bool
    fps: float = 30.0
    axes: str = KINECT_AXES

    def listing(self, sources: Sequence[str]) -> Listing:
        """Return a member a video; label and split files are their companions."""
        files = pku_files.find(sources)
        companions = list(files.splits.values())
        for labels in files.labels.values():
            companions += labels
        return Listing(files.skeletons, files.ignored, tuple(sorted(companions)))

    @contextmanager
    def opened(self, sources: Sequence[str], joints: int) -> Iterator[Parse]:
        """See `RecordingReader.opened`.

        Raises:
            UserError: a split file cannot be used.
        """
        files = pku_files.find(sources)
        with source.opened(sources) as read:
            training = {}
            for split in sorted(files.splits):
                training[split] = pku_files.read_training(split, files, read)

            # Kept: the labels of a video are read for the videos of the other cameras too.
            @cache
            def labels_of(video: Video) -> VideoLabels:
                return pku_files.read_labels(video, files, read)

            def parse(member: Member) -> Sequence[RawRecording | Rejected]:
                video = Video.of(member)
                assert video is not None  # `find` lists no other members
                labels = labels_of(video)
                frames, flaws = _read_frames(read(member), joints)
                shot = _VideoFrames(video, frames, flaws, _sides(video, training))
                if self.untrimmed:
                    return [self._whole(shot, labels)]
                return self._clips(shot, labels, _performances(video, labels_of))

            yield parse

    def _clips(
        self, shot: _VideoFrames, labels: VideoLabels, performances: dict[Interval, str]
    ) -> list[RawRecording | Rejected]:
        """Cut a video into a clip an interval."""
        clips: list[RawRecording | Rejected] = list(labels.rejected)
        for interval in labels.intervals:
            name = _clip_id(shot.video, interval)
            try:
                start, stop = self._bounds(interval, len(shot.frames))
                recording = _recording(name, shot, start, stop, performances[interval])
            except RejectedRecording as reason:
                clips.append(Rejected(name, str(reason)))
                continue
            flaws: tuple[str, ...] = ()
            if interval.first == 0:
                flaws = ("begins at frame 0, read as 1",)
            clips.append(replace(recording, label=interval.label - 1, flaws=flaws))
        return clips

    def _whole(self, shot: _VideoFrames, labels: VideoLabels) -> RawRecording:
        """Keep a video whole, with its intervals as segments."""
        flaws = list(shot.flaws)
        for line in labels.rejected:
            flaws.append(f"{line.name}: {line.reason}")
        segments: list[Segment] = []
        for interval in labels.intervals:
            try:
                start, stop = self._bounds(interval, len(shot.frames))
            except RejectedRecording as reason:
                flaws.append(f"{_clip_id(shot.video, interval)}: {reason}")
                continue
            segments.append((interval.label - 1, start, stop))
        if not segments:
            raise RejectedRecording("none of its intervals can be used")
        recording = _recording(str(shot.video), shot, 0, len(shot.frames), shot.video.stem)
        return replace(recording, segments=tuple(segments), flaws=tuple(flaws))

    def _bounds(self, interval: Interval, frames: int) -> tuple[int, int]:
        """Return an interval's first frame, from 0, and the one after its last.

        Raises:
            RejectedRecording: label or frames are impossible.
        """
        start = max(interval.first, 1) - 1
        stop = interval.last
        if self.end == "excluded":
            stop -= 1
        if not 1 <= interval.label <= MOST_LABELS:
            raise RejectedRecording(f"label {interval.label} is not one of 1 to {MOST_LABELS}")
        if stop <= start:
            raise RejectedRecording("ends before it begins")
        if stop > frames:
            raise RejectedRecording(f"ends after its video, which has {frames} frames")
        return start, stop


def _sides(video: Video, training: dict[str, frozenset[str]]) -> tuple[str, ...]:
    """Return on which side of each split a video is, as `cross_view.train`."""
    sides = []
    for split, names in training.items():
        side = "test"
        if str(video) in names:
            side = "train"
        sides.append(f"{split}.{side}")
    return tuple(sides)


def _clip_id(video: Video, interval: Interval) -> str:
    return f"{video}_{interval.first:05}_{interval.last:05}_A{interval.label:02}"


def _performances(video: Video, labels_of: LabelsOf) -> dict[Interval, str]:
    """Name the performances of a video.

        0002-L   A05  A09  A05         0002_A05_1, 0002_A09_1, 0002_A05_2: the same in 0002-M
        0002-M   A05  A09  A05
        0002-R   A05  A05              A09 comes less often here: 0002-L_A09_1 and 0002-M_A09_1

    The name is without the camera, so that the cameras share it. Where a label comes more or less
    often in one of them, nobody knows which belong together, and the name is with the camera.
    """
    counts = []
    for view in CAMERAS:
        # A video without labels has no clips.
        with contextlib.suppress(RejectedRecording):
            labels = labels_of(Video(video.stem, view))
            counts.append(Counter(interval.label for interval in labels.intervals))
    intervals = labels_of(video).intervals
    seen: Counter[int] = Counter()
    names = {}
    for interval in sorted(intervals, key=lambda interval: (interval.first, interval.last)):
        label = interval.label
        seen[label] += 1
        shared = str(video)
        if len({count[label] for count in counts}) == 1:
            shared = video.stem
        names[interval] = f"{shared}_A{label:02}_{seen[label]}"
    return names


def _read_frames(data: bytes, joints: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Read the skeletons of a video.

    A last line that does not end may lack digits of its last number, so it is no frame.

    Returns:
        The coordinates, float64 [T, 2, V, 3], and the flaws of the file.

    Raises:
        RejectedRecording: they are not numbers, or not as many in every line.
    """
    data = plain_text(data)
    end = data.rfind(b"\n") + 1
    flaws: tuple[str, ...] = ()
    if data[end:].strip():
        last_line = data.count(b"\n") + 1
        flaw = f"cut off in line {last_line}"
        if not end:
            raise RejectedRecording(flaw)
        flaws = (flaw,)
    text = Text.of(data[:end])
    text.check_fields(np.full(text.lines, BODIES * joints * 3))
    numbers = text.numbers(np.arange(len(text.fields)), pa.float64(), "a coordinate")
    return numbers.reshape(-1, BODIES, joints, 3), flaws


def _recording(
    name: str, shot: _VideoFrames, start: int, stop: int, performance: str
) -> RawRecording:
    """Return some frames of a video as a recording, with the slots of the bodies as identities.

    The first body stands as zeros where only the second one is there, so that this keeps its place.

    Raises:
        RejectedRecording: nobody is in any frame, or the coordinates are no metres.
    """
    frames = shot.frames[start:stop]
    present = np.asarray(frames.any(axis=(2, 3)))  # bool [T, 2]
    present[:, 0] |= present[:, 1]
    bodies = frames[present]
    check_coordinates(bodies)
    return RawRecording(
        clip_id=name,
        bodies=bodies,
        body_ids=np.nonzero(present)[1].astype(np.uint64),
        offsets=np.append(0, np.cumsum(present.sum(axis=1))),
        performance=performance,
        subject=shot.video.subject,
        camera=shot.video.camera,
        split=shot.split,
    )
