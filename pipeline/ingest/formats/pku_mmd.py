"""PKU-MMD I and II (Liu et al., arXiv:1703.07475): videos of many actions, cut into clips or kept whole.

A line of skeletons is a frame: 2 bodies x 25 joints x (x, y, z), metres, NTU's joints; a body of
zeros is not there. Other files and their names: `pku_files`.

Of the 21,545 intervals of phase I three begin at frame 0, which is read as 1, one ends before it
begins, 21 end with the last line of their video and none after it. So an interval that ends after
its video shows that lines are missing, and is rejected, not shortened. The cameras are not
synchronous: an action begins some 60 frames apart in them, at times 1,000. Its interval does not
tell what was recorded together, but its order does: the n-th time that a label comes in a video is
the same performance in all videos of a STEM, if it comes equally often in all of them (99.7 % of
phase I).
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from pipeline.ingest import source
from pipeline.ingest.decode.text import Text
from pipeline.ingest.formats import pku_files
from pipeline.ingest.formats.pku_files import CAMERAS, Interval, Labels, Video
from pipeline.ingest.recording import (
    KINECT_AXES,
    Parse,
    RawRecording,
    RecordingReader,
    Rejected,
    check_coordinates,
)
from pipeline.ingest.source import Listing, Member, RejectedRecording

BODIES = 2
LABELS = 51


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
        files = pku_files.find(sources)
        companions = [
            *files.splits.values(),
            *(member for labels in files.labels.values() for member in labels),
        ]
        return Listing(files.skeletons, files.ignored, tuple(sorted(companions)))

    @contextmanager
    def opened(self, sources: Sequence[str], joints: int) -> Iterator[Parse]:
        files = pku_files.find(sources)
        with source.opened(sources) as read:
            training = {
                split: pku_files.read_training(split, files, read) for split in sorted(files.splits)
            }

            @cache
            def labels_of(video: Video) -> Labels:
                return pku_files.read_labels(video, files, read)

            def parse(member: Member) -> list[RawRecording | Rejected]:
                video = Video.of(member)
                labels = labels_of(video)
                frames, flaws = _frames(read(member), joints)
                sides = {
                    split: "train" if str(video) in names else "test"
                    for split, names in training.items()
                }
                who = {
                    "camera": video.camera,
                    "subject": video.subject,
                    "split": tuple(f"{split}.{side}" for split, side in sides.items()),
                }
                if self.untrimmed:
                    return [self._whole(video, frames, labels, flaws, who)]
                return self._clips(video, frames, labels, _performances(video, labels_of), who)

            yield parse

    def _clips(
        self,
        video: Video,
        frames: np.ndarray,
        labels: Labels,
        performances: dict[Interval, str],
        who: dict[str, Any],
    ) -> list[RawRecording | Rejected]:
        clips = list(labels.rejected)
        for interval in labels.intervals:
            flaws = ("begins at frame 0, read as 1",) if interval.first == 0 else ()
            about = {
                "label": interval.label - 1,
                "performance": performances[interval],
                "flaws": flaws,
                **who,
            }
            try:
                start, stop = self._bounds(interval, len(frames))
                clips.append(_recording(_clip_id(video, interval), frames[start:stop], **about))
            except RejectedRecording as reason:
                clips.append(Rejected(_clip_id(video, interval), str(reason)))
        return clips

    def _whole(
        self,
        video: Video,
        frames: np.ndarray,
        labels: Labels,
        flaws: list[str],
        who: dict[str, Any],
    ) -> RawRecording:
        segments, flaws = [], flaws + [f"{line.name}: {line.reason}" for line in labels.rejected]
        for interval in labels.intervals:
            try:
                segments.append((interval.label - 1, *self._bounds(interval, len(frames))))
            except RejectedRecording as reason:
                flaws.append(f"{_clip_id(video, interval)}: {reason}")
        if not segments:
            raise RejectedRecording("none of its intervals can be used")
        about = {
            "performance": video.stem,
            "segments": tuple(segments),
            "flaws": tuple(flaws),
            **who,
        }
        return _recording(str(video), frames, **about)

    def _bounds(self, interval: Interval, frames: int) -> tuple[int, int]:
        """Return an interval's first frame, from 0, and the one after its last. Raises RejectedRecording."""
        start, stop = max(interval.first, 1) - 1, interval.last - (self.end == "excluded")
        if not 1 <= interval.label <= LABELS:
            raise RejectedRecording(f"label {interval.label} is not one of 1 to {LABELS}")
        if stop <= start:
            raise RejectedRecording("ends before it begins")
        if stop > frames:
            raise RejectedRecording(f"ends after its video, which has {frames} frames")
        return start, stop


def _clip_id(video: Video, interval: Interval) -> str:
    return f"{video}_{interval.first:05}_{interval.last:05}_A{interval.label:02}"


def _performances(video: Video, labels_of: Callable[[Video], Labels]) -> dict[Interval, str]:
    """Name the performances of a video; with its camera where the other cameras' videos have more or fewer of them."""
    counts = []
    for view in CAMERAS:
        with contextlib.suppress(RejectedRecording):  # such a video has no clips
            counts.append(
                Counter(interval.label for interval in labels_of(Video(video.stem, view)).intervals)
            )
    order, names = Counter(), {}
    for interval in sorted(
        labels_of(video).intervals, key=lambda interval: (interval.first, interval.last)
    ):
        label = interval.label
        order[label] += 1
        paired = len({count[label] for count in counts}) == 1
        names[interval] = f"{video.stem if paired else video}_A{label:02}_{order[label]}"
    return names


def _frames(data: bytes, joints: int) -> tuple[np.ndarray, list[str]]:
    """Return the coordinates, float64 [T, 2, V, 3], and the flaws of the file. Raises RejectedRecording.

    A line that does not end may lack digits of its last number: it is no frame.
    """
    end, lines = data.rfind(b"\n") + 1, data.count(b"\n")
    flaws = [f"cut off in line {lines + 1}"] if data[end:].strip() else []
    if flaws and not end:
        raise RejectedRecording(flaws[0])
    text = Text.of(data[:end])
    text.check_fields(np.full(text.lines, BODIES * joints * 3))
    numbers = text.numbers(np.arange(len(text.fields)), pa.float64(), "a coordinate")
    return numbers.reshape(-1, BODIES, joints, 3), flaws


def _recording(name: str, frames: np.ndarray, **about) -> RawRecording:
    """The bodies of some frames [T, 2, V, 3] that are there, with their slots as identities.

    The first one stands as zeros where only the second is there, so that this one keeps its place.
    """
    present = frames.any(axis=(2, 3))
    present[:, 0] |= present[:, 1]
    bodies = frames[present]
    check_coordinates(bodies)
    offsets = np.append(0, np.cumsum(present.sum(axis=1)))
    return RawRecording(name, bodies, np.nonzero(present)[1].astype(np.uint64), offsets, **about)
