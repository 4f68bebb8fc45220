"""NTU RGB+D `.skeleton` text (Shahroudy et al., CVPR 2016; Liu et al., TPAMI 2019).

    file  := nframes EOL frame{nframes} frame := nbodies EOL body{nbodies} body  := 10 fields EOL
    njoints EOL joint{njoints}      the first field is the body's id joint := 12 fields EOL
    the first three are x, y, z in metres, y up

Line ends may be LF or CRLF. Only counts, body ids and coordinates are used; other fields may hold
anything but must be there: one that is missing would shift what follows it, so the number of fields
of every line is checked.
"""

import re
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from pipeline.ingest.decode.text import Text
from pipeline.ingest.recording import KINECT_AXES, FileReader, RawRecording, check_coordinates
from pipeline.ingest.source import RejectedRecording

BODY_FIELDS = 10
JOINT_FIELDS = 12
NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})\.skeleton", re.ASCII)


def parse_name(name: str) -> dict[str, int]:
    """Return setup, camera, subject, replication (from 1) and label (from 0) of `SsssCcccPpppRrrrAaaa.skeleton`.

    Raises:
        RejectedRecording: the name does not follow the scheme.
    """
    match = NAME.fullmatch(name)
    numbers = [int(group) for group in match.groups()] if match else [0]
    if not all(numbers):
        raise RejectedRecording("name does not follow SsssCcccPpppRrrrAaaa.skeleton")
    setup, camera, subject, replication, action = numbers
    return {
        "setup": setup,
        "camera": camera,
        "subject": subject,
        "replication": replication,
        "label": action - 1,
    }


def parse(name: str, data: bytes, joints: int) -> list[RawRecording]:
    """Parse one file; see `FileReader`. Raises RejectedRecording unless name, grammar and coordinates are right."""
    who = parse_name(name)
    text = Text.of(data)
    rows, offsets = _walk(text, joints)
    _check_fields(text, rows, joints)
    body_ids = text.numbers(text.first[rows], pa.uint64(), "a body id")
    fields = text.first[rows[:, None] + np.arange(2, 2 + joints)][..., None] + np.arange(3)
    bodies = text.numbers(fields.ravel(), pa.float64(), "a coordinate").reshape(-1, joints, 3)
    check_coordinates(bodies)
    performance = "S{setup:03}P{subject:03}R{replication:03}L{label:03}".format(**who)
    return [
        RawRecording(name.removesuffix(Ntu.suffix), bodies, body_ids, offsets, performance, **who)
    ]


def _walk(text: Text, joints: int) -> tuple[np.ndarray, np.ndarray]:
    """Follow the counts; return the line of every body's 10 fields, int64 [N], and the frames' offsets [T+1]."""
    frames = text.count(0, "number of frames")
    if frames == 0:
        raise RejectedRecording("no frames")
    line, rows, offsets = 1, [], [0]
    for _ in range(frames):
        bodies = text.count(line, "number of bodies")
        line += 1
        for _ in range(bodies):
            found = text.count(line + 1, "number of joints")
            if found != joints:
                raise RejectedRecording(f"line {line + 2}: {found} joints, expected {joints}")
            rows.append(line)
            line += 2 + joints
        offsets.append(len(rows))
    if line > text.lines:
        raise RejectedRecording(f"truncated: ends at line {text.lines} of {line}")
    if line < text.lines:
        raise RejectedRecording(f"goes on after its {frames} frames, at line {line + 1}")
    return np.array(rows, np.int64), np.array(offsets, np.int64)


def _check_fields(text: Text, rows: np.ndarray, joints: int) -> None:
    expected = np.ones(text.lines, np.int64)
    expected[rows] = BODY_FIELDS
    expected[rows[:, None] + np.arange(2, 2 + joints)] = JOINT_FIELDS
    text.check_fields(expected)


@dataclass(frozen=True)
class Ntu(FileReader):
    """NTU RGB+D `.skeleton` files: 30 frames a second, Kinect v2 camera space."""

    name: ClassVar[str] = "ntu"
    suffix: ClassVar[str] = ".skeleton"
    fps: float = 30.0
    axes: str = KINECT_AXES

    who = staticmethod(parse_name)
    parse = staticmethod(parse)
