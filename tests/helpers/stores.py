"""Small clip stores: rows, stores of given rows, and one with something to learn in it."""

import numpy as np
import pytest

from pipeline.config.root import Config
from pipeline.core import storage
from pipeline.encoder.build import layout_of
from pipeline.store.clip_store import ClipStore
from pipeline.store.manifest import fingerprint, layout_record, write_manifest
from pipeline.store.protocols import parse
from pipeline.store.shards import write_shard

SHARDS, ROWS = 3, 40
ACTIONS = 4

# The store of the stream: shards of five row groups, of which one shows camera 1 alone.
PERSONS, JOINTS = 2, 4
STREAM_SHARDS, STREAM_ROWS, GROUP_ROWS = 3, 70, 15
UNSEEN_SHARD, UNSEEN_GROUP = 1, 2
STREAM_LAYOUT = {"name": "test", "joints": ["a", "b", "c", "d"], "parents": [0, 0, 1, 2]}


def clip_row(clip_id, joints, **values):
    """A row of a store; what is not given is unknown.

    joints: float32 [T, M, V, 3].
    """
    row = {
        "clip_id": clip_id,
        "dataset": "test",
        "performance_id": clip_id,
        "label": None,
        "subject": None,
        "camera": None,
        "setup": None,
        "replication": None,
        "split": [],
        "segments": None,
        "num_frames": len(joints),
        "num_persons": joints.shape[1],
        "joints": joints,
    }
    assert values.keys() <= row.keys()
    return row | values


def write_rows(uri, shards, layout, metadata=None, **manifest):
    """Write a store.

    shards: the rows of each. layout: a record of a layout, see `layout_record`. metadata: of the
    Parquet schema. manifest: further keys of it.
    """
    entries = []
    for number, rows in enumerate(shards):
        location = storage.join(uri, f"shard-{number:05d}.parquet")
        entries.append(write_shard(location, rows, metadata or {}))
    known = {
        "layout": layout,
        "persons": shards[0][0]["joints"].shape[1],
        "clips": sum(entry["rows"] for entry in entries),
        "settings": {},
        "shards": entries,
        "fingerprint": fingerprint({}, entries),
    }
    write_manifest(uri, known | manifest)
    return uri


def write_store(uri: str, config: Config, spoil=lambda row: row) -> str:
    """Write 120 clips of 1 to 12 frames from three cameras, in three shards.

    How joints move depends on the label.
    """
    random = np.random.default_rng(0)
    persons = config.data.persons
    joints = len(config.data.skeleton.joints)
    pose = random.normal(size=(1, persons, joints, 3))
    moves = random.normal(size=(ACTIONS, 1, 1, joints, 3))
    shards = []
    for shard in range(SHARDS):
        rows = []
        for number in range(ROWS):
            label = int(random.integers(ACTIONS))
            length = int(random.integers(1, 13))
            phase = np.linspace(0, 1, length)[:, None, None, None]
            noise = 0.8 * random.normal(size=(length, persons, joints, 3))
            clip = pose + moves[label] * phase + noise
            row = clip_row(
                f"clip-{shard}-{number}",
                clip.astype(np.float32),
                performance_id="x",
                label=label,
                subject=1 + number % 10,
                camera=1 + int(random.integers(3)),
                split=[f"part-{number % 3}"],
            )
            rows.append(spoil(row))
        shards.append(rows)
    layout = layout_record(layout_of(config.data.skeleton))
    return write_rows(uri, shards, layout, dataset=config.data.dataset)


def write_stream_store(uri):
    """Write 210 clips of 1 to 9 frames in 3 shards of 5 row groups.

    A clip is told from its numbers. One row group holds no clip of cameras 2 and 3.
    """
    random = np.random.default_rng(0)
    shards = []
    for shard in range(STREAM_SHARDS):
        rows = []
        for number in range(STREAM_ROWS):
            frames = int(random.integers(1, 10))
            unseen = shard == UNSEEN_SHARD and number // GROUP_ROWS == UNSEEN_GROUP
            camera = 1 if unseen else int(random.integers(1, 4))
            joints = random.standard_normal((frames, PERSONS, JOINTS, 3), dtype=np.float32)
            row = clip_row(
                f"clip-{shard}-{number}",
                joints,
                performance_id=f"performance-{number % 23}",
                label=number % 5,
                camera=camera,
                num_persons=1,
            )
            rows.append(row)
        shards.append(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.store.shards.cut_into_row_groups", _small_row_groups)
        write_rows(uri, shards, STREAM_LAYOUT)
    return ClipStore.open(uri)


def _small_row_groups(sizes):
    return [GROUP_ROWS] * 4 + [len(sizes) - 4 * GROUP_ROWS]


def cameras_side(cameras=None):
    """The side of a protocol with the clips of some cameras, or with all clips."""
    terms = {"camera": cameras} if cameras else {}
    return parse({"p": {"s": terms}})["p"]["s"]
