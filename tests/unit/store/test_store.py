import itertools
import json
import pickle
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import UserError
from pipeline.store import shards
from pipeline.store.clip_store import ClipStore
from pipeline.store.manifest import layout_record
from pipeline.store.protocols import parse
from pipeline.store.shards import write_shard
from tests.helpers.examples import examples
from tests.helpers.stores import clip_row, write_rows

LAYOUT = SimpleNamespace(name="stick", joints=("a", "b", "c"), parents=(0, 0, 1))
METADATA = {"layout": layout_record(LAYOUT), "persons": 2, "fps": 30.0}


def row(number, frames=4, **values):
    rng = np.random.default_rng(number)
    known = {
        "dataset": "d",
        "performance_id": f"p{number // 2}",
        "label": number % 3,
        "camera": 1 + number % 2,
        "replication": 1,
    }
    joints = rng.normal(size=(frames, 2, 3, 3)).astype(np.float32)
    return clip_row(f"c{number}", joints, **known) | values


def make(directory, *shards):
    return ClipStore.open(write_rows(str(directory), shards, layout_record(LAYOUT), METADATA))


def test_rows_come_back_in_order_with_their_coordinates_bit_for_bit(tmp_path):
    rows = [row(n, frames=1 + n) for n in range(5)]
    store = make(tmp_path, rows[:2], rows[2:])
    store.verify()
    index = store.index()
    assert (store.clips, store.persons, store.joints, store.bytes_per_frame) == (5, 2, 3, 72)
    assert index.clip_id.tolist() == ["c0", "c1", "c2", "c3", "c4"]
    assert index.performance_id.tolist() == ["p0", "p0", "p1", "p1", "p2"]
    assert index.num_frames.tolist() == [1, 2, 3, 4, 5]
    assert index.camera.tolist() == [1, 2, 1, 2, 1]
    assert index.subject.tolist() == [-1] * 5
    for n, expected in enumerate(rows):
        assert store.clip(n).tobytes() == expected["joints"].tobytes()
    with pytest.raises(IndexError):
        store.clip(5)


def test_a_store_travels_to_other_processes(tmp_path):
    store = make(tmp_path, [row(0)])
    again = pickle.loads(pickle.dumps(store))
    assert again == store
    assert again.clip(0).shape == (4, 2, 3, 3)


@given(sizes=st.lists(st.integers(1, 9 << 20), min_size=1, max_size=60))
@examples(200)
def test_row_groups_hold_every_row_and_about_the_same_bytes(sizes):
    groups = shards.cut_into_row_groups(sizes)
    assert sum(groups) == len(sizes)
    assert min(groups) > 0
    ends = np.cumsum([0, *groups])
    held = [sum(sizes[a:b]) for a, b in itertools.pairwise(ends)]
    assert max(held) <= 1.5 * shards.ROW_GROUP_BYTES + max(sizes)


def test_coordinates_are_stored_without_a_dictionary_in_row_groups_of_8_to_16_mb(tmp_path):
    frames = 500_000 // 72
    store = make(tmp_path, [row(n, frames) for n in range(90)])
    file = pq.ParquetFile(store.paths[0])
    groups = [file.metadata.row_group(n) for n in range(file.metadata.num_row_groups)]
    assert [group.num_rows for group in groups] == store.manifest["shards"][0]["row_groups"]
    for group in groups:
        (column,) = [
            c for n in range(group.num_columns) if (c := group.column(n)).path_in_schema == "joints"
        ]
        assert column.compression == "ZSTD"
        assert not column.has_dictionary_page
        assert 8 << 20 <= column.total_uncompressed_size <= 16 << 20


def test_the_schema_says_what_the_coordinates_are(tmp_path):
    store = make(tmp_path, [row(0)])
    schema = pq.read_schema(store.paths[0])
    assert schema.names == shards.FIELDS.names
    said = {key.decode(): json.loads(value) for key, value in schema.metadata.items()}
    assert said == METADATA | {
        "layout": {"name": "stick", "joints": ["a", "b", "c"], "parents": [0, 0, 1]}
    }


def test_the_content_digest_depends_on_every_value_and_on_nothing_else(tmp_path):
    def content(name, rows, metadata=METADATA):
        return write_shard(str(tmp_path / name), rows, metadata)["content"]

    base = content("a.parquet", [row(0), row(1)])
    assert content("b.parquet", [row(0), row(1)], {}) == base
    changed = row(1)["joints"].copy()
    changed[0, 0, 0, 0] += 1e-6
    for other in (
        [row(1), row(0)],
        [row(0)],
        [row(0), row(1, label=2)],
        [row(0), row(1, joints=changed)],
    ):
        assert content("c.parquet", other) != base


def test_selecting_a_side_gives_row_numbers_and_an_empty_one_is_named(tmp_path):
    store = make(tmp_path, [row(0), row(1)], [row(2)])
    sides = parse({"p": {"train": {"camera": [1]}, "test": {"camera": [9]}}})["p"]
    assert store.select(sides["train"]).tolist() == [0, 2]
    with pytest.raises(UserError, match="protocol 'p' has no clip on its side 'test'"):
        store.select(sides["test"])


def test_the_layout_must_be_the_one_asked_for(tmp_path):
    uri = make(tmp_path, [row(0)]).uri
    ClipStore.open(uri, LAYOUT)
    other = SimpleNamespace(name="stick", joints=("a", "c", "b"), parents=(0, 0, 1))
    for layout in (other, SimpleNamespace(name="k", joints=("a",) * 25, parents=(0,) * 25)):
        with pytest.raises(UserError, match=f"{uri}: clip store has skeleton layout 'stick'"):
            ClipStore.open(uri, layout)


def remove_manifest(path):
    (path / "manifest.json").unlink()


def remove_shard(path):
    (path / "shard-00001.parquet").unlink()


def cut_shard(path):
    shard = path / "shard-00001.parquet"
    shard.write_bytes(shard.read_bytes()[:-1])


def break_manifest(path):
    (path / "manifest.json").write_text('{"format": ')


def foreign_manifest(path):
    (path / "manifest.json").write_text('{"name": "web app"}')


def newer_manifest(path):
    edit(path, version=99)


def edit(path, **values):
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | values))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove_manifest, "half written"),
        (remove_shard, "shard-00001.parquet is missing"),
        (cut_shard, "shard-00001.parquet has"),
        (break_manifest, "not valid JSON"),
        (foreign_manifest, "not the manifest of a clip store"),
        (newer_manifest, "version 99"),
        (lambda path: edit(path, shards=[{"name": 3}]), r"shards\[0\]\.name"),
        (lambda path: edit(path, persons="2"), "persons"),
        (lambda path: edit(path, layout={}), r"layout\.name"),
    ],
)
def test_a_store_that_is_not_whole_is_refused_by_name(tmp_path, damage, message):
    make(tmp_path, [row(0)], [row(1)])
    damage(tmp_path)
    with pytest.raises(UserError, match=message) as error:
        ClipStore.open(str(tmp_path))
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_no_store_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match="nothing: no clip store there"):
        ClipStore.open(str(tmp_path / "nothing"))


def test_verify_finds_a_flipped_bit(tmp_path):
    store = make(tmp_path, [row(0)])
    path = tmp_path / "shard-00000.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="fails its checksum"):
        ClipStore.open(store.uri).verify()
