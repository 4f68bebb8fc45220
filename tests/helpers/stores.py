"""A small clip store with something to learn in it."""

import numpy as np

from pipeline.config.schema import Config
from pipeline.core import storage
from pipeline.encoder.build import recorded_layout
from pipeline.store.clip_store import fingerprint, layout_record, write_manifest, write_shard

SHARDS, ROWS = 3, 40
ACTIONS = 4


def write_store(uri: str, config: Config, spoil=lambda row: row) -> str:
    """120 clips of 1 to 12 frames from three cameras, in three shards; how joints move depends on the label."""
    random, persons = np.random.default_rng(0), config.data.persons
    joints = len(config.data.skeleton.joints)
    pose = random.normal(size=(1, persons, joints, 3))
    moves = random.normal(size=(ACTIONS, 1, 1, joints, 3))
    shards = []
    for shard in range(SHARDS):
        rows = []
        for row in range(ROWS):
            label, length = int(random.integers(ACTIONS)), int(random.integers(1, 13))
            phase = np.linspace(0, 1, length)[:, None, None, None]
            values = (
                pose + moves[label] * phase + 0.8 * random.normal(size=(length, persons, joints, 3))
            )
            rows.append(
                spoil(
                    {
                        "clip_id": f"clip-{shard}-{row}",
                        "dataset": "test",
                        "performance_id": "x",
                        "label": label,
                        "subject": 1 + row % 10,
                        "camera": 1 + int(random.integers(3)),
                        "setup": None,
                        "replication": None,
                        "split": [f"part-{row % 3}"],
                        "segments": None,
                        "num_frames": length,
                        "num_persons": persons,
                        "joints": values.astype(np.float32),
                    }
                )
            )
        shards.append(write_shard(storage.join(uri, f"shard-{shard:05d}.parquet"), rows, {}))
    manifest = {
        "dataset": config.data.dataset,
        "layout": layout_record(recorded_layout(config)),
        "persons": persons,
        "clips": SHARDS * ROWS,
    }
    manifest |= {"settings": {}, "shards": shards, "fingerprint": fingerprint({}, shards)}
    write_manifest(uri, manifest)
    return uri
