"""The preparation of CTR-GCN (Chen et al., ICCV 2021): bodies tracked by their ids and denoised.

What counts is what the reference's code does (its `get_raw_skes_data.py` and
`get_raw_denoised_data.py`), because published numbers come from it. The filter by motion that it
defines (0.089925 to 2) comes after a `return`, so there is none here: motion only ranks.
"""

import numpy as np

from pipeline.ingest.recording import RawRecording
from pipeline.ingest.source import RejectedRecording

# Of several bodies, one that is there for no more frames than this is noise.
SHORT = 11
# A body is noisy in a frame in which it is wider (x) than this share of its height (y).
NOISY_SPREAD = 0.8
# Of several bodies, one that is noisy in at least this share of its frames is noise.
NOISY_SHARE = 0.69754


def ctrgcn(recording: RawRecording, persons: int) -> np.ndarray:
    """Select bodies as CTR-GCN does (with persons=2; other numbers follow the same rules).

    Frames without any body are taken out first. A lone body is kept as it is. Of several, the short
    ones and the noisy ones are dropped, the last one never for noise. The others are dealt to the
    persons, most motion first: the first becomes person 0, each further one joins the first person
    whose span it does not overlap, or is left out. Then frames without any of the persons are taken
    out.

        body 7    ########........       most motion: person 0
        body 3    ..##########....       overlaps person 0: person 1
        body 9    ..........######       after person 0's span: joins person 0

    As in the reference, a body that goes away and comes back closes the gap: its later frames move
    forward. Spans may share one frame, which the later body gets. Persons after the first count as
    there from frame 0 to the end of their last body. Two bodies with one id in a frame are damage,
    which the reference strings together as two frames. Here the first one is kept.

    Args:
        recording: with T frames of V joints.
        persons: M.

    Returns:
        float32 [T', M, V, 3], T' at most T.

    Raises:
        RejectedRecording: there are several bodies, and all are short.
    """
    per_frame = np.diff(recording.offsets)
    # The number of each body's frame, when frames without any body do not count.
    time = np.repeat(np.cumsum(per_frame > 0) - 1, per_frame)
    bodies = recording.bodies.astype(np.float32)  # what the reference decides on
    there = _there(bodies, recording.offsets, per_frame)
    bodies = bodies[there]
    time = time[there]
    tracks = _tracks(recording.body_ids[there], time)
    clip = np.zeros((np.count_nonzero(per_frame), persons, *bodies.shape[1:]), np.float32)
    if len(tracks) < 2:
        _deal(clip, bodies, time, tracks)
        return clip
    _deal(clip, bodies, time, _ranked(bodies, tracks))
    return clip[clip.any(axis=(1, 2, 3))]


def _deal(clip: np.ndarray, bodies: np.ndarray, time: np.ndarray, tracks: list[np.ndarray]) -> None:
    """Write bodies into the persons of a clip, in the order of their tracks.

    Args:
        clip: [T, M, V, 3], changed.
        bodies: [N, V, 3].
        time: [N]: the frame of each body.
        tracks: the rows of each body.
    """
    spans = [(0, 0)] * clip.shape[1]  # first and last frame of each person
    for rank, rows in enumerate(tracks):
        start = int(time[rows[0]])
        end = start + len(rows) - 1
        person = _free_person(spans, start, end)
        if person is None:
            continue
        clip[start : end + 1, person] = bodies[rows]
        first, last = spans[person]
        if rank == 0:
            spans[person] = (start, end)
        else:
            spans[person] = (min(first, start), max(last, end))


def _free_person(spans: list[tuple[int, int]], start: int, end: int) -> int | None:
    """Return the first person whose span does not overlap frames `start` to `end`."""
    for person, (first, last) in enumerate(spans):
        if min(last, end) <= max(first, start):
            return person
    return None


def _there(bodies: np.ndarray, offsets: np.ndarray, per_frame: np.ndarray) -> np.ndarray:
    """Tell which bodies are there.

    A body of zeros beside others only keeps the place of somebody who is away.

    Args:
        bodies: [N, V, 3].
        offsets: [T+1]: the bodies of each frame.
        per_frame: [T]: how many they are.

    Returns:
        bool [N]
    """
    there = np.asarray(bodies.any(axis=(1, 2)))
    before = np.concatenate([[0], np.cumsum(there)])
    there_in_frame = np.diff(before[offsets])
    return there | np.repeat(there_in_frame == 0, per_frame)


def _tracks(body_ids: np.ndarray, time: np.ndarray) -> list[np.ndarray]:
    """Return the rows of each body in time, bodies in the order of their first appearance.

    Args:
        body_ids: [N].
        time: [N]: the frame of each row.
    """
    tracks = []
    for body in dict.fromkeys(body_ids.tolist()):
        rows = np.flatnonzero(body_ids == body)
        # Of two rows in one frame the first is kept.
        tracks.append(rows[np.diff(time[rows], prepend=-1) > 0])
    return tracks


def _ranked(bodies: np.ndarray, tracks: list[np.ndarray]) -> list[np.ndarray]:
    """Drop short and noisy tracks and sort the others by motion, largest first.

    Args:
        bodies: [N, V, 3].
        tracks: the rows of each body.

    Raises:
        RejectedRecording: all are short.
    """
    long = [rows for rows in tracks if len(rows) > SHORT]
    if not long:
        raise RejectedRecording(
            f"{len(tracks)} bodies, none of them there for more than {SHORT} frames"
        )
    # [3, V, N], in which numpy reduces several times faster.
    axes = np.ascontiguousarray(bodies.transpose(2, 1, 0))
    width, height = np.ptp(axes[:2], axis=1).astype(np.float64)
    noisy = width > NOISY_SPREAD * height  # bool [N]
    kept: list[np.ndarray] = []
    for number, rows in enumerate(long):
        last = not kept and number == len(long) - 1
        if last or noisy[rows].mean() < NOISY_SHARE:
            kept.append(rows)
    if len(kept) == 1:
        return kept

    def motion(rows: np.ndarray) -> float:
        """Return the variance in all frames, or in the clean ones if it is smaller."""
        clean = rows[~noisy[rows]]
        return min(_variance(axes[..., rows]), _variance(axes[..., clean]))

    return sorted(kept, key=motion, reverse=True)


def _variance(axes: np.ndarray) -> float:
    """Sum over x, y, z of the variance over everything else.

    Args:
        axes: [3, ...].
    """
    return float(axes.reshape(3, -1).var(axis=1, dtype=np.float64).sum())
