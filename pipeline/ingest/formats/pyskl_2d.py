"""2-D key points of pyskl and mmaction2, as HRNet estimates them: `ntu60_hrnet.pkl`.

The files are those of `pyskl`, with

    keypoint          [M, T, V, 2], pixels from the upper left corner; or [M, T, V, 3], where the
                      third number is the confidence
    keypoint_score    [M, T, V]: the confidence, if the files have one
    img_shape         (height, width) of the video

A joint at (x, y) of an image of height h and width w becomes

    ((w / 2 - x) / h, (h / 2 - y) / h, 0)

so that the image is 1 high, whatever its size, and lies as a camera's space does: x to the camera's
left, y up. pyskl's `PreNormalize2D` divides by half the width and half the height instead, which
makes people in wide images thin. Where h and w are a video's, the two differ by a constant factor
on each axis.

A joint whose confidence is not above `min_confidence` was not seen, as in `PreNormalize2D`; so was
one at exactly (0, 0). Otherwise the confidence is dropped.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from pipeline.ingest.formats.ntu_labels import whole_number
from pipeline.ingest.formats.pyskl import Pyskl, is_confidence
from pipeline.ingest.formats.pyskl_files import Annotation, ReadSpan, read_array
from pipeline.ingest.source import RejectedRecording

# Image heights from the middle of the image. Key points beyond are of another image.
FARTHEST = 10
# In an image of more pixels, key points that all lie within so few are none in pixels.
FEW_PIXELS = 2
SMALLEST_IMAGE = 32
# For a joint in the very middle of an image: a joint at zero counts as not seen.
NUDGE = 1e-6


@dataclass(frozen=True)
class Pyskl2d(Pyskl):
    """Pickles of annotations with 2-D key points.

    Attributes:
        min_confidence: joints whose confidence is not above it were not seen.
    """

    name: ClassVar[str] = "pyskl_2d"
    space: ClassVar[Literal["metres", "image"]] = "image"
    fps: float = 30.0
    axes: str = (
        "in heights of the image from its middle: x to the camera's left (the right of a person "
        "who faces it), y up, z zero"
    )
    min_confidence: float = 0.01

    def facts(self, annotation: Annotation) -> tuple:
        """See `Pyskl.facts`."""
        return (*annotation.facts, _size_of_image(annotation.img_shape))

    def persons(self, annotation: Annotation, read: ReadSpan, joints: int) -> np.ndarray:
        """See `Pyskl.persons`."""
        points = annotation.keypoints(read)
        if points.ndim != 4 or points.shape[2] != joints or points.shape[3] not in (2, 3):
            shape = str(list(points.shape))[:60]
            raise RejectedRecording(
                f"keypoint has shape {shape}, expected [persons, frames, {joints}, 2]"
            )
        annotation.check_frames(points.shape[1])
        size = _size_of_image(annotation.img_shape)
        if size is None:
            raise RejectedRecording("no img_shape, the height and width of its video")
        # Half floats would overflow, and lose half of their digits.
        points = points.astype(np.float64)
        seen = self._is_seen(points, _confidence(annotation, points, read))
        _check_pixels(points[..., :2][seen], size)
        return _in_image(points[..., :2], seen, size)

    def _is_seen(self, points: np.ndarray, confidence: np.ndarray | None) -> np.ndarray:
        """Return which joints were seen, bool [M, T, V]."""
        seen = np.asarray(points[..., :2].any(axis=-1))
        if confidence is None:
            return seen
        with np.errstate(invalid="ignore"):
            return seen & (confidence > self.min_confidence)


def _confidence(annotation: Annotation, points: np.ndarray, read: ReadSpan) -> np.ndarray | None:
    """Return the confidence of each joint, [M, T, V], None where the file has none.

    Raises:
        RejectedRecording: it has another shape, or the third number of a joint is none.
    """
    score = read_array(annotation.score, "keypoint_score", read)
    if score is None:
        if points.shape[3] == 2:
            return None
        if not is_confidence(points[..., 2]):
            raise RejectedRecording(
                "the third number of a joint is no confidence from 0 to 1: 3-D joints are read by "
                "data.reader.format=pyskl"
            )
        return points[..., 2]
    if score.ndim == 2:
        score = score[None]
    if score.shape != points.shape[:3]:
        shape = str(list(score.shape))[:60]
        raise RejectedRecording(
            f"keypoint_score has shape {shape}, expected {list(points.shape[:3])}"
        )
    return score


def _check_pixels(points: np.ndarray, size: tuple[int, int]) -> None:
    """Check that key points [N, 2] that were seen lie in pixels in an image, or near it."""
    finite = np.abs(points[np.isfinite(points).all(axis=-1)])
    if not len(finite):
        return
    height, width = size
    if finite.max() <= FEW_PIXELS and min(size) >= SMALLEST_IMAGE:
        raise RejectedRecording(
            f"all key points lie within {FEW_PIXELS} pixels of a corner of {height} x {width}: "
            "pixels are expected"
        )
    if finite.max() > FARTHEST * height + width:
        raise RejectedRecording(
            f"key points lie more than {FARTHEST} image heights away: img_shape is not that of "
            "its video"
        )


def _in_image(points: np.ndarray, seen: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Turn pixels [M, T, V, 2] into heights of the image from its middle, [M, T, V, 3]."""
    height, width = size
    joints = np.zeros((*seen.shape, 3))
    joints[..., 0] = (width / 2 - points[..., 0]) / height
    joints[..., 1] = (height / 2 - points[..., 1]) / height
    in_middle = ~joints.any(axis=-1)
    joints[in_middle, 1] = NUDGE
    joints[~seen] = 0
    return joints


def _size_of_image(value: Any) -> tuple[int, int] | None:
    """Return height and width, None where a value is no such pair."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    height = whole_number(value[0])
    width = whole_number(value[1])
    if height is None or width is None or height < 1 or width < 1:
        return None
    return height, width
