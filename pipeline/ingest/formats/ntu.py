"""NTU RGB+D `.skeleton` text (Shahroudy et al., CVPR 2016; Liu et al., TPAMI 2019).

    file  := nframes EOL frame{nframes}
    frame := nbodies EOL body{nbodies}
    body  := 10 fields EOL njoints EOL joint{njoints}    the first field is the body's id
    joint := 12 fields EOL                               the first three are x, y, z in metres, y up

Line ends may be LF, CRLF or CR. Only counts, body ids and coordinates are used. Other fields may
hold anything, but they must be there: one that is missing would shift what follows it. So the
number of fields of every line is checked.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from pipeline.ingest.decode.text import Text
from pipeline.ingest.recording import KINECT_AXES, FileReader, RawRecording, check_coordinates
from pipeline.ingest.source import RejectedRecording

SUFFIX = ".skeleton"
ADVICE = {
    ".skeleton.txt": "rename its .skeleton.txt files: their names must end with .skeleton",
    ".skeleton.npy": "its .skeleton.npy files are made by txt2npy.py: use the .skeleton files",
}
NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})\.skeleton", re.ASCII)

BODY_FIELDS = 10
JOINT_FIELDS = 12
# Lines of a body before its joints: its 10 fields, and the number of its joints.
BODY_LINES = 2


def parse_name(name: str) -> dict[str, int]:
    """Read what a file name `SsssCcccPpppRrrrAaaa.skeleton` says.

    Returns:
        setup, camera, subject and replication, from 1, and label, from 0.

    Raises:
        RejectedRecording: the name does not follow the scheme.
    """
    match = NAME.fullmatch(name)
    numbers = []
    if match:
        numbers = [int(group) for group in match.groups()]
    # All of them count from 1.
    if not numbers or not all(numbers):
        raise RejectedRecording("name does not follow SsssCcccPpppRrrrAaaa.skeleton")
    setup, camera, subject, replication, action = numbers
    return {
        "setup": setup,
        "camera": camera,
        "subject": subject,
        "replication": replication,
        "label": action - 1,
    }


def performance_of(who: dict[str, int]) -> str:
    """Return what the three cameras of a performance share.

    Args:
        who: what the name says, see `parse_name`.
    """
    return "S{setup:03}P{subject:03}R{replication:03}L{label:03}".format(**who)


def parse(name: str, data: bytes, joints: int) -> list[RawRecording]:
    """Parse one file, see `FileReader.parse`.

    Raises:
        RejectedRecording: name, grammar or coordinates are wrong.
    """
    who = parse_name(name)
    text = Text.of(data)
    rows, offsets = _follow_counts(text, joints)
    _check_fields(text, rows, joints)
    body_ids = text.numbers(text.first[rows], pa.uint64(), "a body id")

    # The first field of every joint's line, and the two that follow it: [N, V, 3].
    first = text.first[rows[:, None] + np.arange(BODY_LINES, BODY_LINES + joints)]
    fields = first[..., None] + np.arange(3)
    bodies = text.numbers(fields.ravel(), pa.float64(), "a coordinate").reshape(-1, joints, 3)
    check_coordinates(bodies)
    recording = RawRecording(
        clip_id=name.removesuffix(SUFFIX),
        bodies=bodies,
        body_ids=body_ids,
        offsets=offsets,
        performance=performance_of(who),
        label=who["label"],
        subject=who["subject"],
        camera=who["camera"],
        setup=who["setup"],
        replication=who["replication"],
    )
    return [recording]


def _follow_counts(text: Text, joints: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the bodies by following the counts of frames, bodies and joints.

        line   0  "2"           frames
               1  "1"           bodies of frame 0
               2  10 fields     <- row of body 0
               3  "25"          its joints
               4  12 fields     its first joint
              ...
              29  "0"           bodies of frame 1

    Returns:
        The line of every body's 10 fields, int64 [N], and the offsets of the frames, int64 [T+1].

    Raises:
        RejectedRecording: a count is none, or the lines are not as many as the counts say.
    """
    frames = text.count(0, "number of frames")
    if frames == 0:
        raise RejectedRecording("no frames")
    line = 1
    rows: list[int] = []
    offsets = [0]
    for _ in range(frames):
        bodies = text.count(line, "number of bodies")
        line += 1
        for _ in range(bodies):
            found = text.count(line + 1, "number of joints")
            if found != joints:
                raise RejectedRecording(f"line {line + 2}: {found} joints, expected {joints}")
            rows.append(line)
            line += BODY_LINES + joints
        offsets.append(len(rows))
    if line > text.lines:
        raise RejectedRecording(f"truncated: ends at line {text.lines} of {line}")
    if line < text.lines:
        raise RejectedRecording(f"goes on after its {frames} frames, at line {line + 1}")
    return np.array(rows, np.int64), np.array(offsets, np.int64)


def _check_fields(text: Text, rows: np.ndarray, joints: int) -> None:
    """Check how many fields every line has; a line that is a count has one."""
    expected = np.ones(text.lines, np.int64)
    expected[rows] = BODY_FIELDS
    expected[rows[:, None] + np.arange(BODY_LINES, BODY_LINES + joints)] = JOINT_FIELDS
    text.check_fields(expected)


@dataclass(frozen=True)
class Ntu(FileReader):
    """NTU RGB+D `.skeleton` files: 30 frames a second, Kinect v2 camera space."""

    name: ClassVar[str] = "ntu"
    suffix: ClassVar[str] = SUFFIX
    advice: ClassVar[Mapping[str, str]] = ADVICE
    fps: float = 30.0
    axes: str = KINECT_AXES

    def usual_name(self, name: str) -> str:
        """See `FileReader.usual_name`. Some copies have all names in small letters."""
        usual = super().usual_name(name)
        capitals = usual.removesuffix(SUFFIX).upper() + SUFFIX
        if NAME.fullmatch(capitals):
            return capitals
        return usual

    who = staticmethod(parse_name)
    parse = staticmethod(parse)
