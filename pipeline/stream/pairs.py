"""Pairs of clips that show one performance from two cameras."""

from dataclasses import dataclass

import numpy as np

from pipeline.stream.randomness import Purpose, generator


@dataclass(frozen=True)
class Pairs:
    """The selected clips, sorted by performance and camera; a partner is drawn from another camera.

    Example: clips 0 to 4 show the performance x from cameras 2 1 3 1 2, and clip 5 shows y::

        place            0  1    2  3    4    5
        sorted_clips     1  3    0  4    2    5
        camera           1  1    2  2    3    1
        performance      x  x    x  x    x    y

    Clip 0 (camera 2) has `performance_start` 0, `camera_start` 2, `camera_size` 2 and `others` 3:
    its partner is one of the places 0 1 4, which are the clips 1 3 2. Clip 5 has no partner,
    `others` is 0.

    Attributes:
        sorted_clips: int64 [N], the clips by performance, and by camera within one.
        performance_start: int64 [N], of every clip, the place where its performance begins.
        others: int64 [N], how many clips of other cameras its performance has.
        camera_start: int64 [N], the place where the clips of its own camera begin.
        camera_size: int64 [N], how many clips its own camera has.
    """

    sorted_clips: np.ndarray
    performance_start: np.ndarray
    others: np.ndarray
    camera_start: np.ndarray
    camera_size: np.ndarray

    @classmethod
    def of(cls, performance: np.ndarray, camera: np.ndarray) -> "Pairs":
        """Sort clips into pairs.

        Args:
            performance: [N], the ids of the performances, as text or numbers.
            camera: int64 [N]. A clip with -1, an unknown camera, has no partner.
        """
        clips = np.arange(len(camera))
        number = np.unique(performance, return_inverse=True)[1]
        # A clip of an unknown camera is a performance of its own.
        number = np.where(camera < 0, len(clips) + clips, number)

        sorted_clips = np.lexsort((camera, number))
        # One number for a performance and a camera, which sorts as the two do. Cameras are -1 to
        # their maximum, so that these numbers do not meet.
        number_and_camera = number * (camera.max() + 2) + camera
        performance_start, performance_size = _find_runs(number, sorted_clips)
        camera_start, camera_size = _find_runs(number_and_camera, sorted_clips)
        return cls(
            sorted_clips=sorted_clips,
            performance_start=performance_start,
            others=performance_size - camera_size,
            camera_start=camera_start,
            camera_size=camera_size,
        )

    @property
    def paired_clips(self) -> int:
        """The number of clips that have a partner."""
        return int((self.others > 0).sum())

    def partners(self, seed: int, epoch: int) -> np.ndarray:
        """Draw a partner for every clip, anew in every epoch.

        Args:
            seed: the seed of the run.
            epoch: the number of the epoch.

        Returns:
            int64 [N], positions in the selected clips: for every clip a clip of the same
            performance from another camera, or the clip itself if no such clip exists.
        """
        clips = np.arange(len(self.sorted_clips))
        draw = generator(seed, Purpose.PAIRS, epoch).random(len(clips))
        # In the example of the class, the clips 0 1 2 that may be drawn for clip 0 have the places
        # 0 1 4.
        place = self.performance_start + (draw * self.others).astype(np.int64)
        # Step over the clips of the own camera.
        place += np.where(place >= self.camera_start, self.camera_size, 0)
        # A clip without a partner may point past the end; it is replaced by itself.
        partner = self.sorted_clips[np.minimum(place, len(clips) - 1)]
        return np.where(self.others > 0, partner, clips)


def _find_runs(values: np.ndarray, sorted_clips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find, for every clip, the run of clips that have its value, once they are sorted by it.

    Returns:
        Where the run starts among the sorted clips, and how many clips it has, both int64 [N].
    """
    ascending = values[sorted_clips]
    start = np.searchsorted(ascending, values, "left")
    stop = np.searchsorted(ascending, values, "right")
    return start, stop - start
