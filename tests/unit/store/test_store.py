import copy
import itertools
import json
import os
import pickle
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import UserError
from pipeline.store import shards
from pipeline.store.clip_store import ClipStore
from pipeline.store.manifest import DamagedStore, checksum, layout_record, read_manifest
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
        (break_manifest, "not a whole JSON object"),
        (foreign_manifest, "not the manifest of a clip store"),
        (newer_manifest, "version 99"),
        (lambda path: edit(path, shards=[{"name": 3}]), r"shards\.0\.name"),
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


def shard_of(manifest, **values):
    manifest["shards"][0] |= values


WRONG = {
    "persons": lambda manifest: manifest.update(persons=0),
    "persons as text": lambda manifest: manifest.update(persons="2"),
    "clips": lambda manifest: manifest.update(clips=7),
    "clips below 0": lambda manifest: manifest.update(clips=-2),
    "frames": lambda manifest: manifest.update(frames=7),
    "fps": lambda manifest: manifest.update(fps=0.0),
    "fps no number": lambda manifest: manifest.update(fps=float("nan")),
    "settings": lambda manifest: manifest.update(settings=[]),
    "fingerprint": lambda manifest: manifest.update(fingerprint=""),
    "shards": lambda manifest: manifest.update(shards={}),
    "shard twice": lambda manifest: manifest["shards"].append(manifest["shards"][0]),
    "shard gone": lambda manifest: manifest["shards"].pop(),
    "shard is text": lambda manifest: manifest["shards"].append("x"),
    "name outside": lambda manifest: shard_of(manifest, name="../x.parquet"),
    "name absolute": lambda manifest: shard_of(manifest, name="/x.parquet"),
    "name hidden": lambda manifest: shard_of(manifest, name=".."),
    "name empty": lambda manifest: shard_of(manifest, name=""),
    "rows": lambda manifest: shard_of(manifest, rows=2),
    "rows below 0": lambda manifest: shard_of(manifest, rows=-1, row_groups=[-1]),
    "row groups": lambda manifest: shard_of(manifest, row_groups=[1, 1]),
    "row groups empty": lambda manifest: shard_of(manifest, row_groups=[]),
    "bytes": lambda manifest: shard_of(manifest, bytes=True),
    "checksum": lambda manifest: shard_of(manifest, checksum="no"),
    "joints": lambda manifest: manifest["layout"].update(joints="abc"),
    "joint twice": lambda manifest: manifest["layout"].update(joints=["a", "a", "b"]),
    "parents": lambda manifest: manifest["layout"].update(parents=[0, 0, 3]),
    "parents too few": lambda manifest: manifest["layout"].update(parents=[0]),
    "layout": lambda manifest: manifest.update(layout=None),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The manifest of a store of two shards, and its file."""
    path = tmp_path_factory.mktemp("store") / "manifest.json"
    make(path.parent, [row(0)], [row(1)])
    return path, json.loads(path.read_text())


@pytest.mark.parametrize("wrong", WRONG)
def test_a_manifest_that_contradicts_itself_is_refused_in_one_line(whole, wrong):
    path, manifest = whole
    changed = copy.deepcopy(manifest)
    WRONG[wrong](changed)
    path.write_text(json.dumps(changed))
    with pytest.raises(UserError) as caught:
        read_manifest(str(path.parent))
    assert str(caught.value).startswith(f"{path}: damaged manifest: ")
    assert str(caught.value).endswith("; delete it, ingest again")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"7", b"\xff\x00", b"[" * 99_999])
def test_a_manifest_that_is_no_manifest_is_refused_in_one_line(whole, content):
    path, _ = whole
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"manifest\.json: damaged manifest") as caught:
        read_manifest(str(path.parent))
    assert "\n" not in str(caught.value)


def test_no_store_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match="nothing: no clip store there"):
        ClipStore.open(str(tmp_path / "nothing"))


def test_verify_finds_a_flipped_bit_and_names_the_shard_and_a_way_out(tmp_path):
    store = make(tmp_path, [row(0)], [row(1)])
    path = tmp_path / "shard-00001.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    seen = []
    with pytest.raises(DamagedStore, match=r"shard-00001\.parquet.*fails its checksum") as error:
        ClipStore.open(store.uri).verify(lambda *progress: seen.append(progress))
    assert f"delete {tmp_path}/manifest.json and ingest again" in str(error.value)
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    ClipStore.open(store.uri).verify(lambda *progress: seen.append(progress))
    total = sum(shard["bytes"] for shard in store.manifest["shards"])
    assert seen[-1] == (total, total)


def rewrite(path, change):
    """Write a shard with other columns, and a manifest that has its size and checksum."""
    shard = path / "shard-00000.parquet"
    pq.write_table(change(pq.read_table(shard)), shard)
    data = shard.read_bytes()
    manifest = json.loads((path / "manifest.json").read_text())
    shard_of(manifest, bytes=len(data), checksum=checksum(data))
    (path / "manifest.json").write_text(json.dumps(manifest))


def as_text(table):
    position = table.schema.get_field_index("camera")
    return table.set_column(position, "camera", [["one"] * len(table)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop_columns(["camera"]), "no column 'camera'"),
        (as_text, "column 'camera' is string, not int32"),
        (lambda table: pa.concat_tables([table, table]), "row groups of"),
    ],
)
def test_a_shard_that_is_none_is_named_whatever_its_checksum_says(tmp_path, change, message):
    make(tmp_path, [row(0)])
    rewrite(tmp_path, change)
    with pytest.raises(DamagedStore, match=message):
        ClipStore.open(str(tmp_path)).verify()
    with pytest.raises(UserError) as caught:
        ClipStore.open(str(tmp_path)).index()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [{"persons": 1}, {"layout": {"name": "pair", "joints": ["a", "b"], "parents": [0, 0]}}],
)
def test_clips_of_another_size_than_the_manifest_says_are_noticed(tmp_path, values):
    make(tmp_path, [row(0)])
    edit(tmp_path, **values)
    with pytest.raises(DamagedStore, match=r"clip 0 is not one of \d persons with \d joints"):
        ClipStore.open(str(tmp_path)).verify()


def test_a_stamp_changes_with_the_manifest_and_with_every_shard(tmp_path):
    store = make(tmp_path, [row(0)], [row(1)])
    assert ClipStore.open(store.uri).stamp == store.stamp
    os.utime(tmp_path / "shard-00001.parquet", ns=(1, 1))
    touched = ClipStore.open(store.uri).stamp
    assert touched != store.stamp
    edit(tmp_path, fps=7.5)
    assert ClipStore.open(store.uri).stamp not in (touched, store.stamp)
