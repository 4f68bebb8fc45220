"""Northwestern-UCLA Multiview Action 3D (Wang et al., CVPR 2014) as the field's JSON files.

A file is called `aAA_sSS_eEE_vVV.json` and holds `skeletons` [T][20][3], metres, of one person, and
`file_name`. The label comes from the file's name. The same action, subject and episode seen by
several cameras is one performance. A frame of zeros holds nobody.
"""

import json
import re
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar

import numpy as np

from pipeline.ingest.recording import KINECT_AXES, FileReader, RawRecording, check_coordinates
from pipeline.ingest.source import RejectedRecording

SUFFIX = ".json"
NAME = re.compile(r"a(\d{2})_s(\d{2})_e(\d{2})_v(\d{2})\.json", re.ASCII)
# The numbers of the ten actions; labels are their positions.
ACTIONS = (1, 2, 3, 4, 5, 6, 8, 9, 11, 12)


def parse_name(name: str) -> dict[str, int]:
    """Read what a file name `aAA_sSS_eEE_vVV.json` says.

    Returns:
        label, from 0, subject, replication (the episode) and camera.

    Raises:
        RejectedRecording: the name does not follow the scheme, or names an unknown action.
    """
    match = NAME.fullmatch(name)
    if not match:
        raise RejectedRecording("name does not follow aAA_sSS_eEE_vVV.json")
    action, subject, episode, camera = (int(group) for group in match.groups())
    if action not in ACTIONS:
        raise RejectedRecording(f"action {action} is not one of {', '.join(map(str, ACTIONS))}")
    return {
        "label": ACTIONS.index(action),
        "subject": subject,
        "replication": episode,
        "camera": camera,
    }


def parse(name: str, data: bytes, joints: int) -> list[RawRecording]:
    """Parse one file, see `FileReader.parse`.

    Raises:
        RejectedRecording: name, JSON or coordinates are wrong.
    """
    who = parse_name(name)
    clip_id = name.removesuffix(SUFFIX)
    frames = _read_frames(data, clip_id, joints)
    present = frames.any(axis=(1, 2))  # bool [T]
    bodies = frames[present]
    check_coordinates(bodies)
    recording = RawRecording(
        clip_id=clip_id,
        bodies=bodies,
        body_ids=np.zeros(len(bodies), np.uint64),
        offsets=np.append(0, np.cumsum(present)),
        performance=clip_id.rsplit("_", 1)[0],  # without the camera
        label=who["label"],
        subject=who["subject"],
        camera=who["camera"],
        replication=who["replication"],
    )
    return [recording]


def _read_frames(data: bytes, clip_id: str, joints: int) -> np.ndarray:
    """Return the coordinates of a file, float64 [T, V, 3]."""
    if not data.strip():
        raise RejectedRecording("empty file")
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RejectedRecording(f"not valid JSON ({error})") from None
    if not isinstance(content, dict) or "skeletons" not in content:
        raise RejectedRecording("no key 'skeletons'")
    called = content.get("file_name", clip_id)
    if called != clip_id:
        shown = f"called by a {type(called).__name__}"
        if isinstance(called, str):
            shown = repr(called[:40])
        raise RejectedRecording(f"holds the recording {shown}, not what its name says")
    return _to_array(content["skeletons"], joints)


def _to_array(frames: Any, joints: int) -> np.ndarray:
    """Turn lists of lists of numbers into float64 [T, V, 3].

    They are looked at level by level before NumPy may guess what they are: one long text among many
    short ones would make it ask for terabytes.
    """
    expected = f"expected [frames, {joints}, 3]"
    if type(frames) is not list:
        raise RejectedRecording(f"'skeletons' is not a list of frames, {expected}")
    if not frames:
        raise RejectedRecording("no frames")
    values = frames
    for what, length in (("frame", joints), ("joint", 3)):
        if set(map(type, values)) != {list}:
            raise RejectedRecording(f"'skeletons' holds a {what} that is not a list, {expected}")
        wrong = set(map(len, values)) - {length}
        if wrong:
            raise RejectedRecording(
                f"'skeletons' holds a {what} of length {min(wrong)}, {expected}"
            )
        values = list(chain.from_iterable(values))
    if not set(map(type, values)) <= {int, float}:
        raise RejectedRecording("'skeletons' holds something that is not a number")
    try:
        return np.array(values, np.float64).reshape(-1, joints, 3)
    except OverflowError:  # a whole number beyond float64
        raise RejectedRecording("NaN or infinite coordinates") from None


@dataclass(frozen=True)
class NwUcla(FileReader):
    """NW-UCLA JSON files: 30 frames a second, Kinect v1 camera space."""

    name: ClassVar[str] = "nw_ucla"
    suffix: ClassVar[str] = SUFFIX
    fps: float = 30.0
    axes: str = KINECT_AXES

    who = staticmethod(parse_name)
    parse = staticmethod(parse)
