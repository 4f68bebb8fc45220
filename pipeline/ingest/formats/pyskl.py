"""Annotation pickles of pyskl and mmaction2 (Duan et al., ACM MM 2022): `ntu60_3danno.pkl`.

    {split: {name: [frame_dir, ...], ...},
     annotations: [{frame_dir, label, total_frames, keypoint [M, T, V, 3]}, ...]}

or the list of annotations alone. In several files each is a split, called as the file is: that is
how mmaction2 writes `train.pkl` and `val.pkl`.

Where `frame_dir` is a name of NTU RGB+D it says who, where and how often. The label is the file's,
see `ntu_labels`. A fourth number of a joint is a confidence: it is dropped, and a joint without any
was not seen. `keypoint_score` is of estimated poses, not of sensors, and is not used. 2-D key
points are read by `pyskl_2d`.

A file from the internet is not trusted, see `pipeline.ingest.decode.pickles`.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pipeline.ingest.decode import container
from pipeline.ingest.formats.ntu_labels import Numbering, class_number
from pipeline.ingest.formats.pyskl_files import (
    Annotation,
    ReadSpan,
    find_files,
    is_name,
    load_annotations,
    open_files,
)
from pipeline.ingest.recording import KINECT_AXES, Parse, RawRecording, RecordingReader
from pipeline.ingest.source import Listing, Member, RejectedRecording
from pipeline.ingest.tracks import bodies_of

# A confidence is from 0 to 1, but the peaks of heat maps go beyond it a little.
CONFIDENCES = (-0.5, 1.5)
# No coordinate in metres: pixels.
PIXELS = 20


@dataclass(frozen=True)
class Pyskl(RecordingReader):
    """Pickles of annotations: data.raw names them, or a folder that holds no others.

    Every process that reads keeps a list of the annotations, without their arrays: some 80 MB for
    NTU RGB+D 60. The arrays are read from the file one at a time.
    """

    name: ClassVar[str] = "pyskl"
    fps: float = 30.0
    axes: str = KINECT_AXES

    def listing(self, sources: Sequence[str]) -> Listing:
        """Return a member an annotation.

        Raises:
            UserError: a file is damaged or refused, or holds no annotation.
        """
        files = find_files(sources)
        annotations = load_annotations(files)
        members = sorted(annotations.of_member)
        facts = []
        for member in members:
            found = self.facts(annotations.of_member[member])
            facts.append(f"{member.path}\t{found}".encode())
        return Listing(
            members,
            files[0].ignored,
            facts=container.digest(facts),
            notes=annotations.numbering.notes(),
        )

    def facts(self, annotation: Annotation) -> tuple:
        """Return what tells an annotation from another one with an array of the same size."""
        return annotation.facts

    @contextmanager
    def opened(self, sources: Sequence[str], joints: int) -> Iterator[Parse]:
        """See `RecordingReader.opened`."""
        files = find_files(sources)
        annotations = load_annotations(files)
        with ExitStack() as stack:
            readers = open_files(files, stack)

            def parse(member: Member) -> list[RawRecording]:
                annotation = annotations.of_member[member]
                read = readers[member.source]
                return [self._recording(annotation, annotations.numbering, read, joints)]

            yield parse

    def _recording(
        self, annotation: Annotation, numbering: Numbering, read: ReadSpan, joints: int
    ) -> RawRecording:
        """Return what an annotation says. Raises RejectedRecording where it cannot be used."""
        name = annotation.frame_dir
        if not is_name(name):
            raise RejectedRecording("an annotation without a frame_dir that can be printed")
        return RawRecording(
            **numbering.identity(name, class_number(annotation.label)),
            split=annotation.split,
            **bodies_of(self.persons(annotation, read, joints)),
        )

    def persons(self, annotation: Annotation, read: ReadSpan, joints: int) -> np.ndarray:
        """Return the joints of an annotation, [M, T, V, 3], not seen ones zero.

        Args:
            annotation: has them.
            read: returns the bytes of a span of the file.
            joints: V of the skeleton layout.

        Raises:
            RejectedRecording: they cannot be used.
        """
        points = annotation.keypoints(read)
        if points.ndim == 4 and points.shape[3] == 2:
            raise RejectedRecording("2-D key points: read them with data=pyskl_2d")
        if points.ndim != 4 or points.shape[2] != joints or points.shape[3] not in (3, 4):
            shape = str(list(points.shape))[:60]
            raise RejectedRecording(
                f"keypoint has shape {shape}, expected [persons, frames, {joints}, 3]"
            )
        annotation.check_frames(points.shape[1])
        if points.shape[3] == 3:
            if is_confidence(points[..., 2]) and _is_pixels(points[..., :2]):
                raise RejectedRecording(
                    "2-D key points with a confidence: read them with data=pyskl_2d"
                )
            return points
        if not is_confidence(points[..., 3]):
            raise RejectedRecording("the fourth number of a joint is no confidence from 0 to 1")
        return np.where(points[..., 3:] > 0, points[..., :3], 0)


def is_confidence(values: np.ndarray) -> bool:
    """Tell whether numbers can be confidences. What is not a number is none, and does no harm."""
    low, high = CONFIDENCES
    with np.errstate(invalid="ignore"):
        return not bool(((values < low) | (values > high)).any())


def _is_pixels(points: np.ndarray) -> bool:
    with np.errstate(invalid="ignore"):
        return bool((np.abs(points) > PIXELS).any())
