"""The preparation of CTR-GCN (Chen et al., ICCV 2021): bodies are tracked by their ids and denoised.

What counts is what the reference's code does (its `get_raw_skes_data.py` and
`get_raw_denoised_data.py`), because published numbers come from it. The filter by motion that it
defines (0.089925 to 2) comes after a `return`, so there is none here: motion only ranks.
"""

import numpy as np

from pipeline.ingest.recording import RawRecording
from pipeline.ingest.source import RejectedRecording

SHORT = 11  # frames: of several bodies, one that is there for no more is noise
NOISY_SPREAD = (
    0.8  # a body is noisy in a frame in which it is wider (x) than this share of its height (y)
)
NOISY_SHARE = (
    0.69754  # of several bodies, one that is noisy in at least this share of its frames is noise
)


def ctrgcn(recording: RawRecording, persons: int) -> np.ndarray:
    """Select bodies as CTR-GCN's preparation does (with persons=2; others follow the same rules).

    Frames without any body are taken out first. A lone body is kept as it is. Of several, the short
    ones and the noisy ones are dropped, the last one never for noise; the others are dealt to the
    persons, most motion first: the first becomes person 0, each further one joins the first person
    whose span it does not overlap, or is left out. Then frames without any of the persons are taken
    out.

    As in the reference, a body that goes away and comes back closes the gap: its later frames move
    forward. Spans may share one frame, which the later body gets. Persons after the first count as
    there from frame 0 to the end of their last body. Two bodies with one id in a frame are damage,
    which the reference strings together as two frames: here the first one is kept.

    Returns:
        float32 [T, M, V, 3], with T up to that of the recording.

    Raises:
        RejectedRecording: there are several bodies, and all are short.
    """
    per_frame = np.diff(recording.offsets)
    time = np.repeat(np.cumsum(per_frame > 0) - 1, per_frame)
    bodies = recording.bodies.astype(np.float32)  # what the reference decides on
    there = _there(bodies, recording.offsets, per_frame)
    bodies, time = bodies[there], time[there]
    tracks = _tracks(recording.body_ids[there], time)
    several = len(tracks) > 1
    if several:
        tracks = _ranked(bodies, tracks)
    clip = np.zeros((np.count_nonzero(per_frame), persons, *bodies.shape[1:]), np.float32)
    spans = [(0, 0)] * persons
    for rank, rows in enumerate(tracks):
        start = int(time[rows[0]])
        end = start + len(rows) - 1
        person = next(
            (m for m, (first, last) in enumerate(spans) if min(last, end) <= max(first, start)),
            None,
        )
        if person is None:
            continue
        clip[start : end + 1, person] = bodies[rows]
        first, last = spans[person]
        spans[person] = (min(first, start), max(last, end)) if rank else (start, end)
    return clip[clip.any(axis=(1, 2, 3))] if several else clip


def _there(bodies: np.ndarray, offsets: np.ndarray, per_frame: np.ndarray) -> np.ndarray:
    """Return bool [N]: false for a body of zeros beside others, which only keeps the place of somebody who is away."""
    there = bodies.any(axis=(1, 2))
    counts = np.diff(np.concatenate([[0], np.cumsum(there)])[offsets])
    return there | np.repeat(counts == 0, per_frame)


def _tracks(body_ids: np.ndarray, time: np.ndarray) -> list[np.ndarray]:
    """Return the rows of each body in time, bodies in the order of their first appearance; both arguments [N]."""
    tracks = [np.flatnonzero(body_ids == body) for body in dict.fromkeys(body_ids.tolist())]
    return [rows[np.diff(time[rows], prepend=-1) > 0] for rows in tracks]


def _ranked(bodies: np.ndarray, tracks: list[np.ndarray]) -> list[np.ndarray]:
    """Drop short and noisy tracks and sort the others by motion, largest first; bodies: [N, V, 3]."""
    long = [rows for rows in tracks if len(rows) > SHORT]
    if not long:
        raise RejectedRecording(
            f"{len(tracks)} bodies, none of them there for more than {SHORT} frames"
        )
    axes = np.ascontiguousarray(
        bodies.transpose(2, 1, 0)
    )  # [3, V, N], in which numpy reduces several times faster
    width, height = np.ptp(axes[:2], axis=1).astype(np.float64)
    noisy = width > NOISY_SPREAD * height
    kept = []
    for number, rows in enumerate(long):
        last = not kept and number == len(long) - 1
        if last or noisy[rows].mean() < NOISY_SHARE:
            kept.append(rows)
    if len(kept) == 1:
        return kept

    def motion(rows: np.ndarray) -> float:
        """The variance of all its joints in all its frames, or that in its clean frames if it is smaller."""
        return min(_variance(axes[..., rows]), _variance(axes[..., rows[~noisy[rows]]]))

    return sorted(kept, key=motion, reverse=True)


def _variance(axes: np.ndarray) -> float:
    """Sum over x, y, z of the variance over everything else; axes: [3, ...]."""
    return float(axes.reshape(3, -1).var(axis=1, dtype=np.float64).sum())
