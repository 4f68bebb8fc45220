"""Arrays of the line of 2s-AGCN, written as its scripts write them."""

import os
import pickle
import shutil
import tracemalloc

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import fs

from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.ingest.formats import READERS, ntu
from pipeline.ingest.formats.agcn_npy import AgcnNpy
from pipeline.ingest.formats.pyskl import Pyskl
from pipeline.ingest.source import RejectedRecording
from pipeline.store.clip_store import ClipStore
from tests.helpers.examples import examples
from tests.helpers.ingests import ingest_here, ingest_request, read_all
from tests.helpers.recordings import in_place, people, skeleton_text

V, T, M = 25, 12, 2
LENGTHS = [3, T, 7, 5]
NAMES = [f"S001C00{1 + n % 3}P00{1 + n}R001A004" for n in range(4)]


def clips(lengths=LENGTHS, persons=M, seed=0, kind="f4"):
    """[N, 3, T, V, M], zeros after the end of each clip."""
    data = np.zeros((len(lengths), 3, T, V, M), kind)
    rng = np.random.default_rng(seed)
    for row, length in enumerate(lengths):
        data[row, :, :length, :, :persons] = rng.normal(size=(3, length, V, persons))
    return data


def write(folder, part, data, names=NAMES, labels=None, num_frame=None, suffix="_data_joint.npy"):
    """Write a part as `gen_joint_data.py` does."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = [3] * len(names) if labels is None else labels
    np.save(folder / f"{part}{suffix}", data)
    with (folder / f"{part}_label.pkl").open("wb") as file:
        pickle.dump(([f"{name}.skeleton" for name in names], labels), file)
    if num_frame is not None:
        np.save(folder / f"{part}_num_frame.npy", num_frame)
    return str(folder)


def read(source, joints=V):
    return read_all(AgcnNpy(), [source], joints)


@pytest.mark.parametrize("suffix", ["_data_joint.npy", "_data.npy", "_position.npy"])
@pytest.mark.parametrize("kind", ["f2", "f4", ">f8"])
def test_every_row_is_a_clip_of_its_part(tmp_path, kind, suffix):
    data = clips(kind=kind)
    write(tmp_path, "train", data[:3], NAMES[:3], [3, 3, 3], suffix=suffix)
    write(tmp_path, "val", data[3:], NAMES[3:], np.array([3]), suffix=suffix)
    # Made of the joints, and not read.
    np.save(tmp_path / "train_data_bone.npy", data)
    found, rejects = read(str(tmp_path))
    assert rejects == {}
    assert list(found) == sorted(NAMES)
    for row, name in enumerate(NAMES):
        recording = found[name]
        expected = data[row, :, : LENGTHS[row]].transpose(1, 3, 2, 0)
        assert np.array_equal(in_place(recording, M), expected.astype("f8"))
        assert recording.split == (["train", "train", "train", "val"][row],)
        assert (recording.label, recording.setup, recording.camera, recording.subject) == (
            3,
            1,
            1 + row % 3,
            1 + row,
        )
        (raw,) = ntu.parse(f"{name}.skeleton", skeleton_text(people(1)), V)
        assert recording.performance == raw.performance
    listing = AgcnNpy().listing([str(tmp_path)])
    assert (listing.ignored, listing.notes) == (1, ())
    # Rows that stand in the same place in the file may come from any process.
    assert pickle.loads(pickle.dumps(AgcnNpy())) == READERS["agcn_npy"]()


def test_numbers_of_frames_cut_clips_that_repeat_to_the_end(tmp_path):
    data = clips([T] * 4)
    source = write(tmp_path, "train", data, num_frame=np.array([2, T, 0, T + 1]))
    found, rejects = read(source)
    assert {name: one.frames for name, one in found.items()} == {NAMES[0]: 2, NAMES[1]: T}
    assert rejects == {
        f"train/2/{NAMES[2]}": f"num_frame is 0, its array has {T} frames",
        f"train/3/{NAMES[3]}": f"num_frame is {T + 1}, its array has {T} frames",
    }
    # Some scripts save them as floats.
    write(tmp_path, "train", data, num_frame=np.array([2.0, 3.0, 4.0, 5.0]))
    assert {name: one.frames for name, one in read(source)[0].items()} == dict(
        zip(NAMES, (2, 3, 4, 5), strict=True)
    )


def test_persons_who_are_not_there_and_frames_of_nobody(tmp_path):
    data = clips(persons=1)
    data[0, :, 1] = 0
    data[1, :, 2:5, :, 1] = 1
    data[2] = 0
    data[3, 0, 0, 0, 0] = np.nan
    found, rejects = read(write(tmp_path, "train", data))
    assert rejects == {f"train/2/{NAMES[2]}": "every frame is zero"}
    assert np.diff(found[NAMES[0]].offsets).tolist() == [1, 0, 1]
    assert np.diff(found[NAMES[1]].offsets).tolist() == [1, 1, 2, 2, 2, *[1] * 7]
    assert found[NAMES[3]].flaws == (
        "1 of 5 frames have joints that are not numbers, taken as not seen",
    )


def test_names_and_labels_of_ones_own(tmp_path):
    names = ["walk", "S001C001P001R001A024", "S001C001P002R001A024", "run \u8d70"]
    labels = [np.int64(0), 1.0, np.float32(1), -1]
    source = write(tmp_path, "train", clips(), names, labels)
    found, rejects = read(source)
    assert rejects == {f"train/3/{names[3]}": "label is not a whole number from 0"}
    assert {name: one.label for name, one in found.items()} == dict(
        zip(names[:3], (0, 1, 1), strict=True)
    )
    assert (found["walk"].subject, found["walk"].performance) == (None, "walk")
    assert found[names[1]].subject == 1
    (note,) = AgcnNpy().listing([source]).notes
    assert "A024 is class 1" in note


def test_names_and_labels_may_be_arrays(tmp_path):
    write(tmp_path, "train", clips())
    content = (np.array([f"{name}.skeleton" for name in NAMES]), np.full(4, 3))
    (tmp_path / "train_label.pkl").write_bytes(pickle.dumps(content))
    found, rejects = read(str(tmp_path))
    assert (list(found), rejects) == (sorted(NAMES), {})


class Attack:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (os.mkdir, (self.marker,))


def test_nothing_in_a_pickle_runs(tmp_path):
    source = write(tmp_path / "x", "train", clips())
    marker = str(tmp_path / "ran")
    (tmp_path / "x" / "train_label.pkl").write_bytes(pickle.dumps((NAMES, Attack(marker))))
    with pytest.raises(UserError, match=r"train_label\.pkl: refused, nothing in it was run"):
        read(source)
    assert not os.path.exists(marker)


def labelled(folder, content):
    (folder / "train_label.pkl").write_bytes(pickle.dumps(content))


def without_data(folder):
    os.remove(folder / "train_data_joint.npy")


SPOILT = {
    "holds 4 clips, .*train_label.pkl names 3": lambda f: labelled(f, (NAMES[:3], [3] * 3)),
    "two lists of one length": lambda f: labelled(f, (NAMES, [3])),
    "a name is not a text": lambda f: labelled(f, ([1, 2, 3, 4], [3] * 4)),
    r"\(names, labels\) is expected": lambda f: labelled(f, {"a": 1}),
    "not an array of .f8., not of texts": lambda f: labelled(f, (np.zeros(4), [3] * 4)),
    "two lists of one length$": lambda f: labelled(f, ([], [])),
    "one of train_data_joint.npy, train_data.npy, train_position.npy is expected": without_data,
    r"has shape \[4, 2, 12, 25, 2\], expected \[clips, 3,": lambda f: np.save(
        f / "train_data_joint.npy", clips()[:, :2]
    ),
    r"has shape \[4, 900\], expected": lambda f: np.save(
        f / "train_data_joint.npy", np.zeros((4, 900))
    ),
    "is stored by columns": lambda f: np.save(
        f / "train_data_joint.npy", np.asfortranarray(clips())
    ),
    "holds object, not real numbers": lambda f: np.save(
        f / "train_data_joint.npy", np.array([{}]), allow_pickle=True
    ),
    "holds one number, not rows": lambda f: np.save(f / "train_data_joint.npy", 1.0),
    "expected whole numbers of the 4 clips": lambda f: np.save(
        f / "train_num_frame.npy", np.ones(3)
    ),
    r"num_frame.npy: shape \[4\], expected whole numbers": lambda f: np.save(
        f / "train_num_frame.npy", np.full(4, np.nan)
    ),
    "num_frame.npy: not a .npy file": lambda f: (f / "train_num_frame.npy").write_text("7"),
}


@pytest.mark.parametrize("message", SPOILT)
def test_files_that_do_not_fit_together_are_one_clear_line(tmp_path, message):
    source = write(tmp_path / "x", "train", clips())
    SPOILT[message](tmp_path / "x")
    with pytest.raises(UserError, match=message) as error:
        read(source)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_the_folder_is_named_and_is_one(tmp_path):
    one = write(tmp_path / "xsub", "train", clips())
    write(tmp_path / "xview", "train", clips())
    cases = {
        str(tmp_path): r"holds 2 folders with \*_label\.pkl .*name one \(data\.raw",
        str(tmp_path / "gone"): "recordings not found",
        f"{one}/train_data_joint.npy": "is a file; name the folder",
        str(tmp_path / "empty"): r"holds no \*_label\.pkl; train_data_joint\.npy, train_label\.pkl",
    }
    (tmp_path / "empty").mkdir()
    for source, message in cases.items():
        with pytest.raises(UserError, match=message):
            AgcnNpy().listing([source])
    with pytest.raises(UserError, match=r"clips of 25 joints, 20 are expected \(data\.skeleton\)"):
        read(one, joints=20)


def test_files_on_object_storage_are_read_by_ranges(tmp_path, monkeypatch):
    """A URI with options after its path, as S3 with an endpoint of its own needs them."""
    write(tmp_path / "bucket" / "xsub", "train", clips())
    write(tmp_path / "bucket" / "xsub", "val", clips(), [f"{name}x" for name in NAMES])
    bucket = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    local = storage.resolve

    def resolve(uri):
        if not uri.startswith("s3://"):
            return local(uri)
        return bucket, uri.removeprefix("s3://").partition("?")[0]

    monkeypatch.setattr(storage, "resolve", resolve)
    found, rejects = read("s3://bucket/xsub?endpoint_override=http://127.0.0.1:9000/a")
    assert (len(found), rejects) == (8, {})
    # So are pickles in two files.
    for part in ("train", "val"):
        one = {"frame_dir": part, "label": 0, "total_frames": T}
        one["keypoint"] = clips()[1].transpose(3, 1, 2, 0)
        (tmp_path / "bucket" / f"{part}.pkl").write_bytes(pickle.dumps([one]))
    shutil.rmtree(tmp_path / "bucket" / "xsub")
    found, rejects = read_all(Pyskl(), ["s3://bucket?endpoint_override=http://127.0.0.1:9000/a"], V)
    assert ({one.split for one in found.values()}, rejects) == ({("train",), ("val",)}, {})


def test_what_the_files_say_tells_them_from_others(tmp_path):
    def facts(**changed):
        shutil.rmtree(tmp_path / "x", ignore_errors=True)
        listing = AgcnNpy().listing([write(tmp_path / "x", "train", clips(), **changed)])
        return listing.facts

    found = {facts(), facts(labels=[1] * 4), facts(num_frame=[2] * 4), facts(num_frame=[3] * 4)}
    assert len(found) == 4


def test_memory_does_not_grow_with_the_number_of_clips(tmp_path):
    """A file of 240 MB, most of it a hole, of which one row is read."""
    shape = (2000, 3, 200, V, M)
    source = write(tmp_path, "train", clips()[:1], names=["a"])
    names = [f"clip{n}" for n in range(shape[0])]
    labelled(tmp_path, (names, [0] * len(names)))
    path = tmp_path / "train_data_joint.npy"
    array = np.lib.format.open_memmap(path, "w+", np.float32, shape)
    array[1234] = 1
    array.flush()
    del array
    tracemalloc.start()
    reader = AgcnNpy()
    members = {member.name: member for member in reader.listing([source]).members}
    with reader.opened([source], V) as parse:
        (recording,) = parse(members["clip1234"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert recording.frames == 200
    assert recording.bodies.min() == 1
    assert peak < 8 << 20


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz") / "x"
    write(folder, "train", clips()[..., :1], num_frame=np.array(LENGTHS))
    return folder, {path.name: path.read_bytes() for path in folder.iterdir()}


@given(
    st.sampled_from(["train_data_joint.npy", "train_label.pkl", "train_num_frame.npy"]),
    st.integers(0, 400),
    st.integers(0, 6),
    st.binary(max_size=6),
)
@examples(150)
def test_any_damage_gives_clips_rejects_or_one_error(fuzzed, name, at, removed, junk):
    folder, whole = fuzzed
    for path, data in whole.items():
        if path == name:
            at %= len(data)
            data = data[:at] + junk + data[at + removed :]
        (folder / path).write_bytes(data)
        os.utime(folder / path, ns=(0, hash(data) % 2**40))
    try:
        found, _ = read(str(folder))
    except UserError as error:
        assert "\n" not in str(error)
        return
    for recording in found.values():
        assert np.isfinite(recording.bodies).all()
        assert recording.bodies.shape[1:] == (V, 3)


def test_ingested_as_configured_its_splits_and_those_of_the_names_agree(tmp_path):
    train = [1, 2, 4, 5, 8, 9]
    for part, chosen in (("train", True), ("val", False)):
        names = [f"S001C001P00{p}R001A004" for p in range(1, 10) if (p in train) == chosen]
        # A sample with missing joints, which the published list leaves out.
        names = names if chosen else [*names, "S001C002P005R002A008"]
        labels = [int(name[-3:]) - 1 for name in names]
        write(tmp_path / "raw", part, clips([4] * len(names)), names, labels)
    listed = {"S001C002P005R002A008"}
    request = ingest_request("agcn_ntu60", tmp_path / "raw", tmp_path / "store", left_out=listed)
    manifest = ingest_here(request)
    assert (manifest["clips"], manifest["left_out"], manifest["rejected"]) == (9, 1, [])
    sides = {"train": 6, "test": 3}
    assert manifest["protocols"]["published"] == manifest["protocols"]["xsub"] == sides
    store = ClipStore.open(str(tmp_path / "store"))
    assert set(store.index().columns["label"]) == {3}
    table = pq.read_table(tmp_path / "store" / "shard-00000.parquet")
    assert set(table["num_frames"].to_pylist()) == {4}


def test_a_row_without_a_printable_name_is_rejected(tmp_path):
    source = write(tmp_path, "train", clips(), ["a", "b\x1b", "c", "d"])
    with AgcnNpy().opened([source], V) as parse:
        members = AgcnNpy().listing([source]).members
        with pytest.raises(RejectedRecording, match="name that can be printed"):
            parse(members[1])
