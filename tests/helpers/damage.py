"""Damaged `.skeleton` files by the hundred, and what has to come of them: the clips that they say,
or named rejects."""

import csv

import numpy as np
import pyarrow.parquet as pq

from pipeline.store.clip_store import ClipStore
from tests.helpers.ingests import ingest_request
from tests.helpers.recordings import people, plain_parse, skeleton_text

# One file in so many has another name, or lies twice in the folder.
STRANGE_NAMES, COPIES = 100, 500


TOKENS = (
    b"0",
    b"1",
    b"2",
    b"24",
    b"26",
    b"-1",
    b"+3",
    b"1e3",
    b"999999999",
    b"9" * 25,
    b"nan",
    b"inf",
    b"x",
    b"0x10",
)


def cut(data, random):
    return data[: random.integers(len(data))]


def swapped(data, random):
    fields = data.split(b" ")
    a, b = random.integers(len(fields), size=2)
    fields[a], fields[b] = fields[b], fields[a]
    return b" ".join(fields)


def replaced(data, random):
    fields = data.replace(b"\r\n", b" \r\n ").split(b" ")
    fields[random.integers(len(fields))] = TOKENS[random.integers(len(TOKENS))]
    return b" ".join(fields)


def lying(data, random):
    """A count that is no longer true: lines that are nothing but a number."""
    lines = data.split(b"\r\n")
    counts = [i for i, line in enumerate(lines) if line.isdigit()]
    lines[counts[random.integers(len(counts))]] = TOKENS[random.integers(len(TOKENS))]
    return b"\r\n".join(lines)


def line_lost(data, random):
    lines = data.split(b"\r\n")
    del lines[random.integers(len(lines))]
    return b"\r\n".join(lines)


def line_twice(data, random):
    lines = data.split(b"\r\n")
    lines.insert(random.integers(len(lines)), lines[random.integers(len(lines))])
    return b"\r\n".join(lines)


def flipped(data, random):
    data = bytearray(data)
    for place in random.integers(len(data), size=random.integers(1, 4)):
        data[place] ^= 1 << random.integers(8)
    return bytes(data)


DAMAGES = (
    *(cut, swapped, replaced, lying, line_lost, line_twice, flipped),
    lambda data, random: random.bytes(random.integers(2000)),
    lambda data, random: data.decode().encode(
        ("utf-16", "utf-8-sig", "utf-32")[random.integers(3)]
    ),
    lambda data, random: data.replace(b" ", "\u00a0".encode("latin-1")),
    lambda data, random: data.replace(
        b"\r\n", (b"\n", b"\r", b"\n\n", b"\r\n ")[random.integers(4)]
    ),
    lambda data, random: data + cut(data, random),
    lambda data, random: b"",
)


def expected(data):
    """The coordinates that a plain reading of the grammar finds, as clips hold them; None where it
    is no recording."""
    try:
        frames = plain_parse(data)
        for bodies in frames:
            assert all(np.abs(xyz).max() <= 1000 for _, xyz in bodies)  # metres
    except Exception:  # Whatever a plain reading stumbles over is no recording.
        return None
    clip = np.zeros((len(frames), 2, 25, 3), np.float32)
    for t, bodies in enumerate(frames):
        for m, (_, xyz) in enumerate(bodies[:2]):
            clip[t, m] = xyz
    return clip[clip.any(axis=(1, 2, 3))]


def check_damaged_files(folder, files, ingest):
    """Ingest so many damaged files, and compare what becomes of each with a plain reading of it.

    ingest: from a request to a manifest.
    """
    random = np.random.default_rng(0)
    contents = write_damaged_files(folder / "raw", files, random)
    assert len(contents) == files
    manifest = ingest(
        ingest_request(
            "ntu60",
            folder / "raw",
            folder / "store",
            dataset="fuzzed",
            preparation="recorded",
            protocols={},
            files_per_shard=max(1, files // 10),
            classes=None,
        )
    )
    with open(folder / "store" / "rejects.csv", newline="") as file:
        rejects = {row["name"]: row["reason"] for row in csv.DictReader(file)}
    assert len(rejects) == len(manifest["rejected"]) and all(rejects.values())
    twice = {name for name, reason in rejects.items() if reason.startswith("the same name as")}
    assert len(twice) == len(range(0, files, COPIES))
    set_aside = {name.removeprefix("again/") for name in rejects.keys() - twice}
    store = ClipStore.open(str(folder / "store"))
    clips = {f"{clip_id}.skeleton": row for row, clip_id in enumerate(store.index().clip_id)}
    assert clips.keys() | set_aside == contents.keys()
    assert len(clips) + len(set_aside) == files
    assert 0.04 * files < len(clips) < 0.6 * files  # both outcomes are there in numbers
    kinds = {reason.split(":")[-1][:12] for reason in rejects.values()}
    assert len(kinds) > 10, kinds
    joints = coordinates(store)
    for name, data in contents.items():
        clip = expected(data)
        if name in clips:
            assert clip is not None and np.array_equal(joints[clips[name]], clip), name
        elif clip is not None:
            assert "name does not follow" in (rejects.get(name) or rejects[f"again/{name}"]), name


def write_damaged_files(folder, files, random):
    """Write the files; returns their contents by name."""
    good = [skeleton_text(people(2, 1 + k % 2, seed=k)) for k in range(8)]
    (folder / "again").mkdir(parents=True)
    contents = {}
    for number in range(files):
        damage = DAMAGES[random.integers(len(DAMAGES))]
        camera, subject, replication = 1 + number % 3, 1 + number // 3 % 100, 1 + number // 300
        name = f"S001C{camera:03}P{subject:03}R{replication:03}A001.skeleton"
        if number % STRANGE_NAMES == STRANGE_NAMES - 1:
            name = (f"{name[:8]}{number}.skeleton", f"x{name[1:]}", f"\u00e9{name}")[number % 3]
        contents[name] = damage(good[number % len(good)], random)
        (folder / name).write_bytes(contents[name])
        if number % COPIES == 0:
            (folder / "again" / name).write_bytes(contents[name])
    return contents


def coordinates(store):
    """Every clip of the store, read with pyarrow alone."""
    values = [
        value
        for path in store.paths
        for value in pq.read_table(path, columns=["joints"])["joints"].to_pylist()
    ]
    return [np.frombuffer(value, np.float32).reshape(-1, 2, 25, 3) for value in values]
