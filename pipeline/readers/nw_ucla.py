"""Northwestern-UCLA Multiview Action 3D as the field's JSON files `aAA_sSS_eEE_vVV.json` (Wang et al., CVPR 2014).

Keys: `skeletons` [T][20][3], metres, one person, and `file_name`; the label comes from the file's name. The same
action, subject and episode seen by several cameras is one performance. A frame of zeros holds nobody.
"""

import json
import re
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pipeline.readers.recording import KINECT_AXES, FileReader, RawRecording, RejectedRecording, check_coordinates

ACTIONS = (1, 2, 3, 4, 5, 6, 8, 9, 11, 12)
NAME = re.compile(r"a(\d{2})_s(\d{2})_e(\d{2})_v(\d{2})\.json", re.ASCII)


def parse_name(name: str) -> dict[str, int]:
    """Return label (from 0), subject, replication (the episode) and camera of `aAA_sSS_eEE_vVV.json`.

    Raises:
        RejectedRecording: the name does not follow the scheme, or names an action that the data set has not.
    """
    match = NAME.fullmatch(name)
    if not match:
        raise RejectedRecording("name does not follow aAA_sSS_eEE_vVV.json")
    action, subject, episode, camera = (int(group) for group in match.groups())
    if action not in ACTIONS:
        raise RejectedRecording(f"action {action} is not one of {', '.join(map(str, ACTIONS))}")
    return {"label": ACTIONS.index(action), "subject": subject, "replication": episode, "camera": camera}


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
    if content.get("file_name", clip_id) != clip_id:
        raise RejectedRecording(f"holds the recording {str(content['file_name'])[:40]!r}, not what its name says")
    if content["skeletons"] == []:
        raise RejectedRecording("no frames")
    try:
        frames = np.array(content["skeletons"])
    except ValueError:
        raise RejectedRecording(f"'skeletons' is not frames of {joints} joints of x, y, z") from None
    if frames.dtype.kind not in "if":
        raise RejectedRecording("'skeletons' holds something that is not a number")
    if frames.ndim != 3 or frames.shape[1:] != (joints, 3):
        raise RejectedRecording(f"'skeletons' has shape {list(frames.shape)}, expected [frames, {joints}, 3]")
    return frames.astype(np.float64)


@dataclass(frozen=True)
class NwUcla(FileReader):
    """NW-UCLA JSON files: 30 frames a second, Kinect v1 camera space."""

    name: ClassVar[str] = "nw_ucla"
    suffix: ClassVar[str] = ".json"
    fps: float = 30.0
    axes: str = KINECT_AXES

    who = staticmethod(parse_name)
    parse = staticmethod(parse)
