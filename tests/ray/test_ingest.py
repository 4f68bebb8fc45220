import csv
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from models.skeleton import SkeletonLayout
from pipeline.config.schema import load
from pipeline.core.errors import ConfigError, UserError
from pipeline.ingest.driver import Job, ingest, require_same_recordings, write
from pipeline.ingest.formats import READERS, ntu
from pipeline.ingest.prepare import PRESETS, prepare
from pipeline.store.clip_store import ClipStore
from tests.helpers.paths import SHARED_DATA
from tests.helpers.recordings import people, skeleton_text, ucla_text

UCLA = SHARED_DATA / "nw-ucla.zip"


def arguments(data, raw, store, **changed):
    data = load([f"data={data}", "data.raw=elsewhere"]).data.model_dump()
    layout = SkeletonLayout.build(**data["skeleton"])
    names = ("dataset", "persons", "preparation", "protocols", "files_per_shard")
    values = {name: data[name] for name in names} | {
        "layout": layout,
        "seed": 0,
        "classes": len(data["classes"]),
    }
    return (
        values
        | {"reader": READERS[data["reader"]](), "raw": raw and [str(raw)], "store": str(store)}
        | changed
    )


def clip_name(number):
    return f"S001C{1 + number % 3:03}P{1 + number // 3:03}R001A{1 + number % 2:03}.skeleton"


@pytest.fixture
def raw(tmp_path):
    """Twelve recordings, each of its own length."""
    (tmp_path / "raw").mkdir()
    for number in range(12):
        (tmp_path / "raw" / clip_name(number)).write_bytes(
            skeleton_text(people(2 + number, 1 + number % 3, seed=number))
        )
    return tmp_path / "raw"


def test_a_store_holds_every_recording_as_prepared(ray_session, raw, tmp_path):
    seen = []
    manifest = ingest(
        **arguments("ntu60", raw, tmp_path / "store", files_per_shard=5),
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
    # Pairing: the cameras of a performance share its id, and the labels alternate, so two of three do.
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


def test_bad_recordings_are_set_aside_by_name_and_the_rest_goes_on(ray_session, raw, tmp_path):
    (raw / "S001C001P009R001A001.skeleton").write_bytes(skeleton_text([*people(2), []]))
    ingest(**arguments("ntu60", raw, tmp_path / "clean"))
    good = (raw / clip_name(0)).read_bytes()
    (raw / "copy").mkdir()
    for name, (damage, _) in BAD.items():
        (raw / name).write_bytes(damage(good))
    (raw / "readme.txt").write_text("other files are no recordings")
    with pytest.raises(
        UserError,
        match=r"11 of 24 recordings \(45\.8%\) cannot be used, more than ingest\.max_rejected=0",
    ):
        ingest(**arguments("ntu60", raw, tmp_path / "store", max_rejected=0.45))
    assert not (tmp_path / "store" / "manifest.json").exists()
    manifest = ingest(**arguments("ntu60", raw, tmp_path / "store"))
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


def test_nothing_usable_is_an_error_and_its_reasons_are_kept(ray_session, tmp_path):
    (tmp_path / "raw").mkdir()
    for number in range(3):
        (tmp_path / "raw" / clip_name(number)).write_bytes(b"")
    with pytest.raises(
        UserError, match=r"none of 3 recordings can be used \(most often: empty file\)"
    ):
        ingest(**arguments("ntu60", tmp_path / "raw", tmp_path / "store"))
    assert (tmp_path / "store" / "rejects.csv").read_text().count("empty file") == 3
    with pytest.raises(UserError, match="half written"):
        ClipStore.open(str(tmp_path / "store"))


def test_parallelism_place_and_packing_do_not_show_in_the_store(ray_session, raw, tmp_path):
    reference = ingest(**arguments("ntu60", raw, tmp_path / "a", files_per_shard=3))
    options = ray_session.data.DataContext.get_current().execution_options
    limits = options.resource_limits
    options.resource_limits = limits.copy(cpu=1)
    try:
        serial = ingest(**arguments("ntu60", raw, tmp_path / "b", files_per_shard=3))
    finally:
        options.resource_limits = limits
    assert serial == reference
    with zipfile.ZipFile(tmp_path / "raw.zip", "w") as archive:
        for number in reversed(range(12)):
            archive.write(raw / clip_name(number), f"official/{clip_name(number)}")
    packed = ingest(**arguments("ntu60", tmp_path / "raw.zip", tmp_path / "c", files_per_shard=3))
    assert packed["fingerprint"] == reference["fingerprint"]
    assert packed["settings"] == reference["settings"]
    other = ingest(**arguments("ntu60", raw, tmp_path / "d", files_per_shard=3, seed=1))
    assert other["fingerprint"] != reference["fingerprint"]


def test_a_store_of_the_same_settings_is_reused_and_of_others_refused(ray_session, raw, tmp_path):
    first = ingest(**arguments("ntu60", raw, tmp_path / "store"))
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "store").iterdir()}
    assert ingest(**arguments("ntu60", raw, tmp_path / "store")) == first
    assert ingest(**arguments("ntu60", None, tmp_path / "store")) == first
    changed = {"mine": {"train": {"camera": [1]}, "test": "rest"}}
    again = ingest(**arguments("ntu60", raw, tmp_path / "store", protocols=changed))
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
            ingest(**arguments("ntu60", raw, tmp_path / "store", **{key: value}))
    (raw / clip_name(12)).write_bytes(skeleton_text(people(3)))
    with pytest.raises(ConfigError, match=r"other settings \(recordings\)"):
        ingest(**arguments("ntu60", raw, tmp_path / "store"))
    assert before == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "store").iterdir()}


def test_a_half_written_or_damaged_store_is_made_again(ray_session, raw, tmp_path):
    store = tmp_path / "store"
    first = ingest(**arguments("ntu60", raw, store, files_per_shard=5))
    (store / "manifest.json").unlink()
    (store / "shard-00001.parquet").write_bytes(b"half")
    (store / "shard-00009.parquet").write_bytes(b"left over")
    (store / "mine.txt").write_text("not the store's")
    assert ingest(**arguments("ntu60", raw, store, files_per_shard=5)) == first
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
        ingest(**arguments("ntu60", None, store, files_per_shard=5))
    assert ingest(**arguments("ntu60", raw, store, files_per_shard=5)) == first
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
        ingest(**arguments("ntu60", raw, tmp_path / "store") | changed)
    assert not (tmp_path / "store").exists()


def test_a_manifest_of_something_else_is_not_overwritten(raw, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "manifest.json").write_text('{"name": "web app"}')
    with pytest.raises(UserError, match="not the manifest of a clip store"):
        ingest(**arguments("ntu60", raw, tmp_path / "store"))
    assert json.loads((tmp_path / "store" / "manifest.json").read_text()) == {"name": "web app"}


def test_storage_that_fails_in_a_task_is_one_clear_line(ray_session, raw, tmp_path):
    # A directory where the shard should go: only the task that writes it finds out.
    (tmp_path / "store" / "shard-00000.parquet").mkdir(parents=True)
    with pytest.raises(UserError, match=r"^\S*shard-00000\.parquet: cannot be written") as error:
        ingest(**arguments("ntu60", raw, tmp_path / "store"))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "store" / "manifest.json").exists()


def test_overlapping_sides_are_refused(ray_session, raw, tmp_path):
    overlap = {"p": {"train": {"camera": [1, 2]}, "test": {"camera": [2]}}}
    with pytest.raises(UserError, match=r"protocols\.p: 4 clips"):
        ingest(**arguments("ntu60", raw, tmp_path / "store", protocols=overlap))


def test_a_shard_of_nothing_usable_is_not_written(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a01_s01_e01_v01.json").write_bytes(b"{")
    reader, sources = READERS["nw_ucla"](), (str(tmp_path / "raw"),)
    store = str(tmp_path / "store")
    job = Job(
        sources,
        store,
        reader,
        "d",
        20,
        1,
        "recorded",
        classes=None,
        left_out=frozenset(),
        seed=0,
        metadata={},
    )
    report = write(job, 0, reader.listing(sources).members)
    assert (report["recordings"], report["shard"], len(report["rejects"])) == (1, None, 1)
    assert not list((tmp_path / "store").glob("*.parquet"))


def test_a_zip_with_something_else_in_it(ray_session, tmp_path):
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
    manifest = ingest(**arguments("nw_ucla", tmp_path / "x.zip", tmp_path / "store"))
    assert (manifest["clips"], manifest["ignored_files"]) == (2, 2)
    assert [reject["name"] for reject in manifest["rejected"]] == ["all/a01_s01_e01_v02.json"]
    with zipfile.ZipFile(tmp_path / "y.zip", "w") as archive:
        archive.writestr("paper.pdf", b"%PDF")
    with pytest.raises(UserError, match=r"y\.zip: holds no recordings"):
        ingest(**arguments("nw_ucla", tmp_path / "y.zip", tmp_path / "other"))


def test_nw_ucla_is_whole_and_split_as_published(ray_session, tmp_path):
    if not UCLA.exists():
        pytest.skip(f"NW-UCLA is not there ({UCLA})")
    manifest = ingest(**arguments("nw_ucla", UCLA, tmp_path / "store"))
    assert manifest["clips"] == 1484
    assert manifest["frames"] == 58_534
    assert manifest["rejected"] == []
    assert manifest["protocols"]["cross_view"] == {"train": 1020, "test": 464}
    dev = manifest["protocols"]["dev"]
    assert sum(dev.values()) == 1020
    assert dev["test"] > 150
    store = ClipStore.open(str(tmp_path / "store"))
    index = store.index()
    assert set(index.label) == set(range(10))
    assert set(index.subject) == set(range(1, 11))
    assert index.num_frames.min() == 1
    assert sorted(index.clip_id[index.num_frames == 1]) == ["a02_s09_e04_v02", "a02_s09_e04_v03"]
    row = int(np.flatnonzero(index.clip_id == "a01_s01_e01_v01")[0])
    with zipfile.ZipFile(UCLA) as archive:
        recorded = json.loads(archive.read("all_sqe/a01_s01_e01_v01.json"))["skeletons"]
    assert np.array_equal(store.clip(row)[:, 0], np.array(recorded, np.float32))
    shutil.rmtree(tmp_path / "store")


def test_samples_that_are_left_out_are_no_rejects(ray_session, raw, tmp_path):
    some = [Path(clip_name(number)).stem for number in (3, 7)]
    manifest = ingest(
        **arguments("ntu60", raw, tmp_path / "store", left_out=[*some, "S017C003P020R002A060"])
    )
    assert (manifest["clips"], manifest["left_out"], manifest["rejected"]) == (10, 2, [])
    index = ClipStore.open(str(tmp_path / "store")).index()
    assert not set(some) & set(index.clip_id)
    with pytest.raises(ConfigError, match=r"other settings \(left_out"):
        ingest(**arguments("ntu60", raw, tmp_path / "store", left_out=some))


def test_two_folders_are_one_data_set(ray_session, raw, tmp_path):
    whole = ingest(**arguments("ntu60", raw, tmp_path / "a"))
    (tmp_path / "second").mkdir()
    for number in range(6):
        shutil.move(raw / clip_name(number), tmp_path / "second")
    parts = ingest(
        **arguments("ntu60", None, tmp_path / "b") | {"raw": [str(raw), str(tmp_path / "second")]}
    )
    assert parts["fingerprint"] == whole["fingerprint"]


def test_a_changed_table_or_label_file_makes_other_recordings(ray_session, tmp_path):
    (tmp_path / "raw").mkdir()
    np.save(tmp_path / "raw" / "a.npy", np.ones((3, 20, 3)))
    table, reader = tmp_path / "raw" / "clips.csv", READERS["arrays"]("clips.csv", {}, 30.0, "x")
    table.write_text("clip_id,path,label\na,a.npy,1\n")
    settings = arguments("nw_ucla", tmp_path / "raw", tmp_path / "store", reader=reader)
    assert ingest(**settings)["labels"] == {"1": 1}
    table.write_text("clip_id,path,label\na,a.npy,2\n")  # of the same size
    with pytest.raises(ConfigError, match=r"other settings \(recordings\)"):
        ingest(**settings)


def test_a_killed_ingest_goes_on_with_what_is_missing(ray_session, raw, tmp_path, monkeypatch):
    """Killed between two shards: the finished ones are not read again, and the store is that of an unbroken ingest."""
    whole = ingest(**arguments("ntu60", raw, tmp_path / "whole", files_per_shard=3))

    class Killed(BaseException):
        pass

    def stop(done, total):
        if done >= 6:
            raise Killed

    store = tmp_path / "store"
    with pytest.raises(Killed):
        ingest(**arguments("ntu60", raw, store, files_per_shard=3), progress=stop)
    finished = {
        path.stem: path.stat().st_mtime_ns for path in (store / "unfinished").glob("shard-*.json")
    }
    assert 2 <= len(finished) <= 4
    torn = sorted(finished)[0]  # its report is there, its rows are not what the report says
    damaged = bytearray((store / f"{torn}.parquet").read_bytes())
    damaged[100] ^= 1
    (store / f"{torn}.parquet").write_bytes(damaged)
    (store / "shard-00000.parquet.0123abcd.tmp").write_bytes(b"of the kill")
    for (
        path
    ) in raw.iterdir():  # Only what is missing is read: what finished shards hold is gone by now.
        dates = path.stat()
        if path.stem in set().union(
            *(clips_of(store / f"{name}.parquet") for name in finished if name != torn)
        ):
            path.write_bytes(bytes(dates.st_size))
            os.utime(path, ns=(dates.st_atime_ns, dates.st_mtime_ns))
    seen = []
    manifest = ingest(
        **arguments("ntu60", raw, store, files_per_shard=3),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[0] == (3 * (len(finished) - 1), 12)
    assert manifest["fingerprint"] == whole["fingerprint"]
    assert manifest["shards"] == whole["shards"]
    ClipStore.open(str(store)).verify()
    assert not (store / "unfinished").exists() and not list(store.glob("*.tmp"))
    (store / "unfinished").mkdir()  # killed between manifest and tidying up
    assert ingest(**arguments("ntu60", raw, store, files_per_shard=3)) == manifest
    assert not (store / "unfinished").exists()


def test_recordings_changed_within_their_size_are_ingested_anew_or_minded(
    ray_session, raw, tmp_path, capsys
):
    def stop(done, total):
        if done >= 6:
            raise KeyboardInterrupt

    store, first = tmp_path / "store", raw / clip_name(0)
    with pytest.raises(KeyboardInterrupt):
        ingest(**arguments("ntu60", raw, store, files_per_shard=3), progress=stop)
    text = first.read_bytes()
    first.write_bytes(text.replace(b"0.", b"1.", 1))
    os.utime(first, ns=(1, 1))
    manifest = ingest(**arguments("ntu60", raw, store, files_per_shard=3))
    assert (
        manifest["fingerprint"]
        == ingest(**arguments("ntu60", raw, tmp_path / "b", files_per_shard=3))["fingerprint"]
    )
    assert "other dates" not in capsys.readouterr().out
    first.write_bytes(text)  # the store is whole by now: it is used, and that is said
    assert ingest(**arguments("ntu60", raw, store, files_per_shard=3)) == manifest
    assert "have other dates than when" in capsys.readouterr().out


def test_other_recordings_than_those_of_a_store_are_noticed_without_ingesting(
    ray_session, raw, tmp_path, capsys
):
    ingest(**arguments("ntu60", raw, tmp_path / "store"))
    store, reader = str(tmp_path / "store"), READERS["ntu"]()
    require_same_recordings([str(raw)], store, reader)
    for gone in ([str(tmp_path / "gone")], [str(raw), str(tmp_path / "gone")]):
        require_same_recordings(gone, store, reader)
    assert "other dates" not in capsys.readouterr().out
    (raw / clip_name(12)).write_bytes(skeleton_text(people(3)))
    with pytest.raises(ConfigError, match=r"data\.raw: other recordings than"):
        require_same_recordings([str(raw)], store, reader)


def clips_of(path):
    return set(pq.read_table(path, columns=["clip_id"])["clip_id"].to_pylist())


def test_what_another_ingest_left_unfinished_is_not_taken_up(ray_session, raw, tmp_path):
    store = tmp_path / "store"
    first = ingest(**arguments("ntu60", raw, store, preparation="recorded"))
    report = {
        "number": 0,
        "recordings": 12,
        "rejects": [],
        "flaws": [],
        "left_out": 0,
        "shard": first["shards"][0],
    }
    (store / "manifest.json").unlink()
    (store / "unfinished").mkdir()
    (store / "unfinished" / "settings.json").write_text(json.dumps(first["settings"]))
    (store / "unfinished" / "shard-00000.json").write_text(json.dumps(report))
    again = ingest(**arguments("ntu60", raw, store))
    assert (
        again["fingerprint"] == ingest(**arguments("ntu60", raw, tmp_path / "other"))["fingerprint"]
    )
    assert again["fingerprint"] != first["fingerprint"]


def test_every_reader_has_its_own_suffix_and_name():
    assert all(reader.name == name for name, reader in READERS.items())
