"""Thousands of damaged recordings in one ingest: every one becomes the clip that it says, or a named reject."""

import csv

import numpy as np
import pyarrow.parquet as pq

from models.skeleton import SkeletonLayout
from pipeline.config.schema import load
from pipeline.ingest.driver import ingest
from pipeline.ingest.formats import READERS
from pipeline.store.clip_store import ClipStore
from tests.helpers.recordings import people, plain_parse, skeleton_text

FILES = 5000
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
    """The coordinates that a plain reading of the grammar finds, as clips hold them; None where it is no recording."""
    try:
        frames = plain_parse(data)
    except Exception:  # Whatever a plain reading stumbles over is no recording.
        return None
    clip = np.zeros((len(frames), 2, 25, 3), np.float32)
    for t, bodies in enumerate(frames):
        for m, (_, xyz) in enumerate(bodies[:2]):
            clip[t, m] = xyz
    return clip[clip.any(axis=(1, 2, 3))]


def test_five_thousand_damaged_files_are_clips_or_named_rejects(ray_session, tmp_path):
    random = np.random.default_rng(0)
    good = [skeleton_text(people(2, 1 + k % 2, seed=k)) for k in range(8)]
    (tmp_path / "raw" / "again").mkdir(parents=True)
    contents = {}
    for number in range(FILES):
        damage = DAMAGES[random.integers(len(DAMAGES))]
        camera, subject, replication = 1 + number % 3, 1 + number // 3 % 100, 1 + number // 300
        name = f"S001C{camera:03}P{subject:03}R{replication:03}A001.skeleton"
        if number % 100 == 99:
            name = (f"{name[:8]}{number}.skeleton", f"s{name[1:]}", f"\u00e9{name}")[number % 3]
        contents[name] = damage(good[number % len(good)], random)
        (tmp_path / "raw" / name).write_bytes(contents[name])
        if number % 500 == 0:
            (tmp_path / "raw" / "again" / name).write_bytes(contents[name])
    assert len(contents) == FILES
    data = load(["data=ntu60", "data.raw=x"]).data.model_dump()
    manifest = ingest(
        raw=[str(tmp_path / "raw")],
        store=str(tmp_path / "store"),
        reader=READERS["ntu"](),
        dataset="fuzzed",
        layout=SkeletonLayout.build(**data["skeleton"]),
        persons=2,
        preparation="recorded",
        protocols={},
        files_per_shard=500,
        seed=0,
    )
    with open(tmp_path / "store" / "rejects.csv", newline="") as file:
        rejects = {row["name"]: row["reason"] for row in csv.DictReader(file)}
    assert len(rejects) == len(manifest["rejected"]) and all(rejects.values())
    twice = {name for name, reason in rejects.items() if reason.startswith("the same name as")}
    assert len(twice) == FILES // 500
    set_aside = {name.removeprefix("again/") for name in rejects.keys() - twice}
    store = ClipStore.open(str(tmp_path / "store"))
    clips = {f"{clip_id}.skeleton": row for row, clip_id in enumerate(store.index().clip_id)}
    assert clips.keys() | set_aside == contents.keys()
    assert len(clips) + len(set_aside) == FILES
    assert 200 < len(clips) < FILES - 2000  # both outcomes are there in numbers
    assert len({reason.split(":")[-1][:12] for reason in rejects.values()}) > 10
    joints = coordinates(store)
    for name, data in contents.items():
        clip = expected(data)
        if name in clips:
            assert clip is not None and np.array_equal(joints[clips[name]], clip), name
        elif clip is not None:
            assert "name does not follow" in (rejects.get(name) or rejects[f"again/{name}"]), name


def coordinates(store):
    """Every clip of the store, read with pyarrow alone."""
    values = [
        value
        for path in store.paths
        for value in pq.read_table(path, columns=["joints"])["joints"].to_pylist()
    ]
    return [np.frombuffer(value, np.float32).reshape(-1, 2, 25, 3) for value in values]
