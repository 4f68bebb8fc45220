"""Northwestern-UCLA Multiview Action 3D as the field's JSON files `aAA_sSS_eEE_vVV.json` (Wang et al., CVPR 2014).

Keys: `skeletons` [T][20][3], metres, one person, and `file_name`; the label comes from the file's
name. The same action, subject and episode seen by several cameras is one performance. A frame of
zeros holds nobody.
"""

import json
import re
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar

import numpy as np

from pipeline.ingest.recording import KINECT_AXES, FileReader, RawRecording, check_coordinates
from pipeline.ingest.source import RejectedRecording

ACTIONS = (1, 2, 3, 4, 5, 6, 8, 9, 11, 12)
NAME = re.compile(r"a(\d{2})_s(\d{2})_e(\d{2})_v(\d{2})\.json", re.ASCII)


def parse_name(name: str) -> dict[str, int]:
    """Return label (from 0), subject, replication (the episode) and camera of `aAA_sSS_eEE_vVV.json`.

    Raises:
        RejectedRecording: the name does not follow the scheme, or names an action that the data set
            has not.
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
    """Parse one file; see `FileReader`. Raises RejectedRecording unless name, JSON and coordinates are right."""
    who = parse_name(name)
    clip_id = name.removesuffix(NwUcla.suffix)
    frames = _frames(data, clip_id, joints)
    present = frames.any(axis=(1, 2))
    check_coordinates(frames[present])
    return [
        RawRecording(
            clip_id=clip_id,
            bodies=frames[present],
            body_ids=np.zeros(int(present.sum()), np.uint64),
            offsets=np.append(0, np.cumsum(present)),
            performance=clip_id.rsplit("_", 1)[0],
            **who,
        )
    ]


def _frames(data: bytes, clip_id: str, joints: int) -> np.ndarray:
    if not data.strip():
        raise RejectedRecording("empty file")
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RejectedRecording(f"not valid JSON ({error})") from None
    if not isinstance(content, dict) or "skeletons" not in content:
        raise RejectedRecording("no key 'skeletons'")
    said = content.get("file_name", clip_id)
    if said != clip_id:
        said = repr(said[:40]) if isinstance(said, str) else f"called by a {type(said).__name__}"
        raise RejectedRecording(f"holds the recording {said}, not what its name says")
    return _array(content["skeletons"], joints)


def _array(frames: Any, joints: int) -> np.ndarray:
    """Lists of lists of numbers as float64 [T, V, 3], looked at level by level before NumPy may guess what they are.

    One long text among many short ones would make it ask for terabytes.
    """
    expected = f"expected [frames, {joints}, 3]"
    if type(frames) is not list:
        raise RejectedRecording(f"'skeletons' is not a list of frames, {expected}")
    if not frames:
        raise RejectedRecording("no frames")
    for what, length in (("frame", joints), ("joint", 3)):
        if set(map(type, frames)) != {list}:
            raise RejectedRecording(f"'skeletons' holds a {what} that is not a list, {expected}")
        if wrong := set(map(len, frames)) - {length}:
            raise RejectedRecording(
                f"'skeletons' holds a {what} of length {min(wrong)}, {expected}"
            )
        frames = list(chain.from_iterable(frames))
    if not set(map(type, frames)) <= {int, float}:
        raise RejectedRecording("'skeletons' holds something that is not a number")
    try:
        return np.array(frames, np.float64).reshape(-1, joints, 3)
    except OverflowError:  # a whole number beyond float64
        raise RejectedRecording("NaN or infinite coordinates") from None


@dataclass(frozen=True)
class NwUcla(FileReader):
    """NW-UCLA JSON files: 30 frames a second, Kinect v1 camera space."""

    name: ClassVar[str] = "nw_ucla"
    suffix: ClassVar[str] = ".json"
    fps: float = 30.0
    axes: str = KINECT_AXES

    who = staticmethod(parse_name)
    parse = staticmethod(parse)
