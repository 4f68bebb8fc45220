"""From recordings to a clip store, its shards written in this process."""

import csv
import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import ConfigError, UserError
from pipeline.ingest.formats import READERS, ntu
from pipeline.ingest.prepare import PRESETS, prepare
from pipeline.store.clip_store import ClipStore
from tests.helpers.ingests import ingest_here, ingest_request
from tests.helpers.recordings import clip_name, people, skeleton_text, ucla_text, write_recordings


@pytest.fixture
def raw(tmp_path):
    """Twelve recordings, each of its own length."""
    return write_recordings(tmp_path / "raw")


def test_a_store_holds_every_recording_as_prepared(raw, tmp_path):
    seen = []
    manifest = ingest_here(
        ingest_request("ntu60", raw, tmp_path / "store", files_per_shard=5),
        progress=lambda done, total: seen.append((done, total)),
    )
    store = ClipStore.open(str(tmp_path / "store"))
    store.verify()
    index = store.index()
    assert len(index) == store.clips == manifest["clips"] == 12
    assert [shard["rows"] for shard in manifest["shards"]] == [5, 5, 2]
    assert sorted(index.clip_id) == sorted(
        clip_name(n).removesuffix(".skeleton") for n in range(12)
    )
    assert index.clip_id.tolist() != sorted(index.clip_id)
    assert (seen[0], seen[-1]) == ((0, 12), (12, 12))
    for row, clip_id in enumerate(index.clip_id):
        (recording,) = ntu.parse(
            f"{clip_id}.skeleton", (raw / f"{clip_id}.skeleton").read_bytes(), 25
        )
        clip, persons = prepare(recording, PRESETS["agcn"], 2)
        assert store.clip(row).tobytes() == clip.tobytes()
        assert (index.num_frames[row], index.num_persons[row]) == (len(clip), persons)
        assert (index.camera[row], index.label[row]) == (recording.camera, recording.label)
    assert manifest["frames"] == index.num_frames.sum()
    assert manifest["protocols"]["xview"] == {"train": 8, "test": 4}
    assert manifest["cameras"] == {"1": 4, "2": 4, "3": 4}
    assert manifest["labels"] == {"0": 6, "1": 6}
    assert manifest["rejected"] == []
    # Pairing: the cameras of a performance share its id, and the labels alternate, so two of three
    # do.
    assert len(set(index.performance_id)) == 8


BAD = {
    "S001C001P001R001A050.skeleton": (lambda good: good[: len(good) // 2], "truncated"),
    "S001C001P001R001A051.skeleton": (lambda good: b"", "empty file"),
    "S001C001P001R001A052.skeleton": (
        lambda good: good.replace(b"\r\n25\r\n", b"\r\nmany\r\n"),
        "number of joints",
    ),
    "S001C001P001R001A053.skeleton": (
        lambda good: skeleton_text(people(2, joints=20), joints=20),
        "20 joints",
    ),
    "S001C001P001R001A054.skeleton": (
        lambda good: skeleton_text([[(1, np.full((25, 3), np.nan))]]),
        "NaN",
    ),
    "S001C001P001R001A055.skeleton": (lambda good: b"2\r\n0\r\n0\r\n", "no body"),
    "S001C001P001R001A056.skeleton": (
        lambda good: skeleton_text([[(1, np.zeros((25, 3)))]]),
        "zero",
    ),
    "S001C001P001R001A057.skeleton": (lambda good: good + good, "goes on"),
    "S001C001P001R001A061.skeleton": (lambda good: good, "label 60 is not one of the 60 classes"),
    "notes.skeleton": (lambda good: good, "name does not follow"),
    f"copy/{clip_name(0)}": (lambda good: good, f"the same name as {clip_name(0)}"),
}


def test_bad_recordings_are_set_aside_by_name_and_the_rest_goes_on(raw, tmp_path):
    (raw / "S001C001P009R001A001.skeleton").write_bytes(skeleton_text([*people(2), []]))
    ingest_here(ingest_request("ntu60", raw, tmp_path / "clean"))
    good = (raw / clip_name(0)).read_bytes()
    (raw / "copy").mkdir()
    for name, (damage, _) in BAD.items():
        (raw / name).write_bytes(damage(good))
    (raw / "readme.txt").write_text("other files are no recordings")
    with pytest.raises(
        UserError,
        match=r"11 of 24 recordings \(45\.8%\) cannot be used, more than ingest\.max_rejected=0",
    ):
        ingest_here(ingest_request("ntu60", raw, tmp_path / "store", max_rejected=0.45))
    assert not (tmp_path / "store" / "manifest.json").exists()
    manifest = ingest_here(ingest_request("ntu60", raw, tmp_path / "store"))
    assert manifest["clips"] == 13
    assert manifest["ignored_files"] == 1
    found = {reject["name"]: reject["reason"] for reject in manifest["rejected"]}
    # Which of two files of one name is kept: the first by path.
    kept, dropped = sorted([clip_name(0), f"copy/{clip_name(0)}"])
    assert found.pop(dropped) == f"the same name as {kept}"
    expected = {name: reason for name, (_, reason) in BAD.items() if not name.startswith("copy/")}
    assert found.keys() == expected.keys()
    for name, reason in expected.items():
        assert reason in found[name], name
    with open(tmp_path / "store" / "rejects.csv", newline="") as file:
        assert list(csv.DictReader(file)) == manifest["rejected"]
    with open(tmp_path / "store" / "flaws.csv", newline="") as file:
        flaws = list(csv.DictReader(file))
    empty = [flaw for flaw in flaws if "hold nobody" in flaw["flaw"]]
    assert empty == [{"clip_id": "S001C001P009R001A001", "flaw": "1 of 3 frames hold nobody"}]
    crowded = {
        clip_name(number).removesuffix(".skeleton") for number in range(2, 12, 3)
    }  # three people in them
    assert {flaw["clip_id"] for flaw in flaws if flaw not in empty} == crowded
    assert "up to 3 bodies in a frame, of which 2 can be kept" in {flaw["flaw"] for flaw in flaws}
    assert manifest["flawed"] == 5
    # The same clips in the same order: set-aside files leave no trace in the content.
    assert manifest["fingerprint"] == ClipStore.open(str(tmp_path / "clean")).fingerprint


def test_nothing_usable_is_an_error_and_its_reasons_are_kept(tmp_path):
    (tmp_path / "raw").mkdir()
    for number in range(3):
        (tmp_path / "raw" / clip_name(number)).write_bytes(b"")
    with pytest.raises(
        UserError, match=r"none of 3 recordings can be used \(most often: empty file\)"
    ):
        ingest_here(ingest_request("ntu60", tmp_path / "raw", tmp_path / "store"))
    assert (tmp_path / "store" / "rejects.csv").read_text().count("empty file") == 3
    with pytest.raises(UserError, match="half written"):
        ClipStore.open(str(tmp_path / "store"))


def test_place_and_packing_do_not_show_in_the_store(raw, tmp_path):
    reference = ingest_here(ingest_request("ntu60", raw, tmp_path / "a", files_per_shard=3))
    with zipfile.ZipFile(tmp_path / "raw.zip", "w") as archive:
        for number in reversed(range(12)):
            archive.write(raw / clip_name(number), f"official/{clip_name(number)}")
    packed = ingest_here(
        ingest_request("ntu60", tmp_path / "raw.zip", tmp_path / "c", files_per_shard=3)
    )
    assert packed["fingerprint"] == reference["fingerprint"]
    assert packed["settings"] == reference["settings"]
    other = ingest_here(ingest_request("ntu60", raw, tmp_path / "d", files_per_shard=3, seed=1))
    assert other["fingerprint"] != reference["fingerprint"]


def test_a_store_of_the_same_settings_is_reused_and_of_others_refused(raw, tmp_path):
    first = ingest_here(ingest_request("ntu60", raw, tmp_path / "store"))
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "store").iterdir()}
    assert ingest_here(ingest_request("ntu60", raw, tmp_path / "store")) == first
    assert ingest_here(ingest_request("ntu60", None, tmp_path / "store")) == first
    changed = {"mine": {"train": {"camera": [1]}, "test": "rest"}}
    again = ingest_here(ingest_request("ntu60", raw, tmp_path / "store", protocols=changed))
    assert again == first | {"protocols": {"mine": {"train": 4, "test": 8}}}
    for key, value in {
        "persons": 1,
        "preparation": "recorded",
        "files_per_shard": 7,
        "dataset": "ntu-120",
    }.items():
        with pytest.raises(
            ConfigError, match=rf"holds a clip store made with other settings \({key}"
        ):
            ingest_here(ingest_request("ntu60", raw, tmp_path / "store", **{key: value}))
    (raw / clip_name(12)).write_bytes(skeleton_text(people(3)))
    with pytest.raises(ConfigError, match=r"other settings \(recordings\)"):
        ingest_here(ingest_request("ntu60", raw, tmp_path / "store"))
    assert before == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "store").iterdir()}


def test_a_half_written_or_damaged_store_is_made_again(raw, tmp_path):
    store = tmp_path / "store"
    first = ingest_here(ingest_request("ntu60", raw, store, files_per_shard=5))
    (store / "manifest.json").unlink()
    (store / "shard-00001.parquet").write_bytes(b"half")
    (store / "shard-00009.parquet").write_bytes(b"left over")
    (store / "mine.txt").write_text("not the store's")
    assert ingest_here(ingest_request("ntu60", raw, store, files_per_shard=5)) == first
    ClipStore.open(str(store)).verify()
    assert sorted(path.name for path in store.iterdir()) == sorted(
        [
            "manifest.json",
            "mine.txt",
            "rejects.csv",
            "flaws.csv",
            *(shard["name"] for shard in first["shards"]),
        ]
    )
    (store / "shard-00000.parquet").unlink()
    with pytest.raises(UserError, match="incomplete"):
        ingest_here(ingest_request("ntu60", None, store, files_per_shard=5))
    assert ingest_here(ingest_request("ntu60", raw, store, files_per_shard=5)) == first
    ClipStore.open(str(store)).verify()


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"raw": ["/no/such/place"]}, UserError, "/no/such/place: recordings not found"),
        ({"raw": None}, UserError, "no clip store there"),
        (
            {"protocols": {"p": {"train": {"colour": [1]}}}},
            ConfigError,
            r"protocols\.p\.train\.colour",
        ),
    ],
)
def test_a_request_that_cannot_be_met_starts_nothing(raw, tmp_path, changed, error, message):
    with pytest.raises(error, match=message):
        ingest_here(replace(ingest_request("ntu60", raw, tmp_path / "store"), **changed))
    assert not (tmp_path / "store").exists()


def test_a_manifest_of_something_else_is_not_overwritten(raw, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "manifest.json").write_text('{"name": "web app"}')
    with pytest.raises(UserError, match="not the manifest of a clip store"):
        ingest_here(ingest_request("ntu60", raw, tmp_path / "store"))
    assert json.loads((tmp_path / "store" / "manifest.json").read_text()) == {"name": "web app"}


def test_overlapping_sides_are_refused(raw, tmp_path):
    overlap = {"p": {"train": {"camera": [1, 2]}, "test": {"camera": [2]}}}
    with pytest.raises(UserError, match=r"protocols\.p: 4 clips"):
        ingest_here(ingest_request("ntu60", raw, tmp_path / "store", protocols=overlap))


def test_a_zip_with_something_else_in_it(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(
            "all/a01_s01_e01_v01.json", ucla_text(np.ones((4, 20, 3)), "a01_s01_e01_v01")
        )
        archive.writestr("all/a01_s01_e01_v02.json", b'{"broken": ')
        archive.writestr(
            "../../../tmp/a01_s01_e01_v03.json", ucla_text(np.ones((4, 20, 3)), "a01_s01_e01_v03")
        )
        archive.writestr("__MACOSX/all/._a01_s01_e01_v01.json", b"\0")
        archive.writestr("paper.pdf", b"%PDF")
    manifest = ingest_here(ingest_request("nw_ucla", tmp_path / "x.zip", tmp_path / "store"))
    assert (manifest["clips"], manifest["ignored_files"]) == (2, 2)
    assert [reject["name"] for reject in manifest["rejected"]] == ["all/a01_s01_e01_v02.json"]
    with zipfile.ZipFile(tmp_path / "y.zip", "w") as archive:
        archive.writestr("paper.pdf", b"%PDF")
    with pytest.raises(UserError, match=r"y\.zip: holds no recordings"):
        ingest_here(ingest_request("nw_ucla", tmp_path / "y.zip", tmp_path / "other"))


def test_samples_that_are_left_out_are_no_rejects(raw, tmp_path):
    some = [Path(clip_name(number)).stem for number in (3, 7)]
    manifest = ingest_here(
        ingest_request("ntu60", raw, tmp_path / "store", left_out=[*some, "S017C003P020R002A060"])
    )
    assert (manifest["clips"], manifest["left_out"], manifest["rejected"]) == (10, 2, [])
    index = ClipStore.open(str(tmp_path / "store")).index()
    assert not set(some) & set(index.clip_id)
    with pytest.raises(ConfigError, match=r"other settings \(left_out"):
        ingest_here(ingest_request("ntu60", raw, tmp_path / "store", left_out=some))


def test_two_folders_are_one_data_set(raw, tmp_path):
    whole = ingest_here(ingest_request("ntu60", raw, tmp_path / "a"))
    (tmp_path / "second").mkdir()
    for number in range(6):
        shutil.move(raw / clip_name(number), tmp_path / "second")
    parts = ingest_here(ingest_request("ntu60", [raw, tmp_path / "second"], tmp_path / "b"))
    assert parts["fingerprint"] == whole["fingerprint"]


def test_a_changed_table_or_label_file_makes_other_recordings(tmp_path):
    (tmp_path / "raw").mkdir()
    np.save(tmp_path / "raw" / "a.npy", np.ones((3, 20, 3)))
    table, reader = tmp_path / "raw" / "clips.csv", READERS["arrays"]("clips.csv", {}, 30.0, "x")
    table.write_text("clip_id,path,label\na,a.npy,1\n")
    request = ingest_request("nw_ucla", tmp_path / "raw", tmp_path / "store", reader=reader)
    assert ingest_here(request)["labels"] == {"1": 1}
    table.write_text("clip_id,path,label\na,a.npy,2\n")  # of the same size
    with pytest.raises(ConfigError, match=r"other settings \(recordings\)"):
        ingest_here(request)
