"""Plain writers and a plain reader of recordings, independent of the program's own."""

import json

import numpy as np

NAME = "S001C002P003R001A004.skeleton"


def skeleton_text(frames, eol="\r\n", joints=25):
    """`.skeleton` text of frames, each a list of (body id, coordinates [V, 3])."""
    lines = [str(len(frames))]
    for bodies in frames:
        lines.append(str(len(bodies)))
        for body_id, xyz in bodies:
            lines += [f"{body_id} 0 1 0 1 0 0 -0.25 0.1 2", str(joints)]
            lines += [
                f"{x!r} {y!r} {z!r} 250.5 nan 1000.25 500 0.1 0.2 0.3 0.4 2"
                for x, y, z in np.asarray(xyz).tolist()
            ]
    return eol.join([*lines, ""]).encode()


def people(frames=6, persons=1, joints=25, seed=0):
    """Frames of persons at random coordinates, as `skeleton_text` takes them."""
    rng = np.random.default_rng(seed)
    return [
        [(72057594037930000 + m, rng.normal(size=(joints, 3)).round(7)) for m in range(persons)]
        for _ in range(frames)
    ]


def ucla_text(frames, name="a01_s02_e03_v01"):
    """NW-UCLA JSON of coordinates [T, 20, 3]."""
    return json.dumps({"file_name": name, "skeletons": np.asarray(frames).tolist()}).encode()


def plain_parse(data):
    """Frames of `.skeleton` text, the grammar read line by line, nothing else; any exception says
    that it is none."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        data = data.decode("utf-16").encode()
    data = data.removeprefix(b"\xef\xbb\xbf")
    assert all(byte >= 32 or byte in b"\t\r\n\v\f" for byte in data)
    text = data.decode("ascii")
    if "\n" not in text:
        text = text.replace("\r", "\n")
    lines = iter(text.rstrip().split("\n"))
    frames = []
    for _ in range(whole(next(lines))):
        bodies = []
        for _ in range(whole(next(lines))):
            fields = next(lines).split()
            assert len(fields) == 10
            assert whole(next(lines)) == 25
            joints = [next(lines).split() for _ in range(25)]
            assert all(len(joint) == 12 for joint in joints)
            bodies.append(
                (int(fields[0]), [[float(text) for text in joint[:3]] for joint in joints])
            )
        frames.append(bodies)
    assert next(lines, None) is None
    assert frames
    xyz = np.array([body[1] for bodies in frames for body in bodies])
    assert xyz.size and np.isfinite(xyz).all() and np.abs(xyz).max() <= 1e6 and xyz.any()
    assert all(0 <= body[0] < 2**64 for bodies in frames for body in bodies)
    return frames


def whole(text):
    assert text.strip().isdigit()
    return int(text)


def in_place(recording, persons):
    """Bodies of a recording by frame and place, [T, M, V, 3]."""
    clip = np.zeros((recording.frames, persons, *recording.bodies.shape[1:]))
    for t, (start, end) in enumerate(zip(recording.offsets, recording.offsets[1:], strict=False)):
        clip[t, : end - start] = recording.bodies[start:end]
    return clip


def clip_name(number):
    """The file name of one of the recordings of `write_recordings`: three cameras a performance,
    labels alternate."""
    return f"S001C{1 + number % 3:03}P{1 + number // 3:03}R001A{1 + number % 2:03}.skeleton"


def write_recordings(folder, count=12):
    """Write recordings of one to three people, each of its own length; returns the folder."""
    folder.mkdir()
    for number in range(count):
        frames = people(2 + number, 1 + number % 3, seed=number)
        (folder / clip_name(number)).write_bytes(skeleton_text(frames))
    return folder
