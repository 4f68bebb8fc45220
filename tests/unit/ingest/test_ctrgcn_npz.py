import io
import os
import pickle
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.compose import load
from pipeline.core.errors import UserError
from pipeline.ingest.formats import READERS, reader_for
from pipeline.ingest.formats.ctrgcn_npz import CtrgcnNpz
from pipeline.ingest.shard import ingest_shard
from tests.helpers.examples import examples
from tests.helpers.ingests import ingest_job, read_all
from tests.helpers.recordings import in_place

V, T = 25, 12


def clips(count, seed=0, frames=T, joints=V):
    """Clips of one or two persons as the preparation leaves them, [N, T, 2 * V * 3]."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, frames, 2, joints, 3)).astype("f4")
    for number in range(count):
        x[number, 1 + number % frames :] = 0
        if number % 3:
            x[number, :, 1] = 0
    return x.reshape(count, frames, 2 * joints * 3)


def one_hot(labels, classes=60):
    return np.eye(classes)[labels]


def content(train=5, test=3, **changed):
    return {
        "x_train": clips(train),
        "y_train": one_hot(np.arange(train)),
        "x_test": clips(test, seed=1),
        "y_test": one_hot(np.arange(test) + 10),
    } | changed


def save(path, arrays, write=np.savez):
    write(path, **arrays)
    return str(path)


def read(source, joints=V):
    """What a file holds: {clip_id: recording} and {path: why not}."""
    return read_all(CtrgcnNpz(), [source], joints)


def plain_clip(row):
    """A row cut where only zeros follow, person by person, [t, 2, V, 3]."""
    frames = [frame.tolist() for frame in row]
    while frames and not any(frames[-1]):
        frames.pop()
    return np.array(
        [
            [[frame[75 * m + 3 * v : 75 * m + 3 * v + 3] for v in range(V)] for m in range(2)]
            for frame in frames
        ]
    )


@pytest.mark.parametrize("kind", ["<f4", "<f8", ">f4", "f2"])
def test_every_row_is_a_clip(tmp_path, kind):
    arrays = content(x_train=clips(5).astype(kind), y_train=one_hot([3, 0, 59, 7, 7]).astype("i8"))
    found, rejects = read(save(tmp_path / "NTU60_CS.npz", arrays))
    assert rejects == {}
    assert list(found) == sorted(found)
    assert list(found) == [f"test-{n:05}" for n in (1, 2, 3)] + [
        f"train-{n:05}" for n in (1, 2, 3, 4, 5)
    ]
    for name, recording in found.items():
        side, number = name.split("-")
        row = arrays[f"x_{side}"][int(number) - 1]
        assert np.array_equal(in_place(recording, 2), plain_clip(row))
        assert recording.label == arrays[f"y_{side}"][int(number) - 1].argmax()
        assert (recording.split, recording.performance) == ((side,), name)
        assert (recording.subject, recording.camera, recording.setup, recording.flaws) == (
            None,
            None,
            None,
            (),
        )
    assert [found[f"train-{n:05}"].frames for n in (1, 2, 3, 4, 5)] == [1, 2, 3, 4, 5]


def test_frames_of_nobody_in_between_stay_and_joints_that_are_no_numbers_are_flaws(tmp_path):
    x = clips(2)
    x[0] = clips(12)[11]
    x[0, 4] = 0
    x[0, 6, 80] = np.inf
    x[1] = 0
    x[1, 9, 3] = np.nan
    found, rejects = read(save(tmp_path / "x.npz", content(2, x_train=x)))
    assert rejects == {"train-00002": "no body in any frame"}
    recording = found["train-00001"]
    assert recording.frames == 12
    assert np.diff(recording.offsets)[4] == 0
    assert recording.flaws == (
        "1 of 12 frames have joints that are not numbers, taken as not seen",
    )


def test_rows_that_cannot_be_used_are_rejected_by_name(tmp_path):
    x, y = clips(7), one_hot([1, 2, 3, 4, 5, 6, 7])
    x[1] = 0
    x[2] *= 1e7
    y[3] = 0
    y[4, 9] = 1
    y[5] *= 0.5
    y[6, 0] = np.nan
    found, rejects = read(save(tmp_path / "x.npz", content(7, x_train=x, y_train=y)))
    assert [name for name in found if name.startswith("train")] == ["train-00001"]
    assert rejects == {
        "train-00002": "every frame is zero",
        "train-00003": "coordinates beyond 1,000,000: not metres",
        **{f"train-0000{n}": "its label is not one-hot" for n in (4, 5, 6, 7)},
    }


class Bomb:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def without(name):
    return {key: value for key, value in content().items() if key != name}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            without("x_test"),
            "holds no array x_test; x_train, y_train, x_test and y_test are expected",
        ),
        (without("y_train"), "holds no array y_train"),
        (content(y_train=one_hot([1, 2])), "x_train has 5 clips, y_train 2"),
        (
            content(y_test=np.zeros((3, 1, 1))),
            r"x_test has shape \[3, 12, 150\] and y_test \[3, 1, 1\], expected \[clips, frames",
        ),
        (content(x_test=clips(3).reshape(3, T, 2, 75)), r"x_test has shape \[3, 12, 2, 75\]"),
        (content(x_train=np.zeros((5, 0, 150), "f4")), r"x_train has shape \[5, 0, 150\]"),
        (
            content(y_train=np.zeros((5, 0))),
            r"x_train has shape \[5, 12, 150\] and y_train \[5, 0\], expected",
        ),
        (content(0, 0), "holds no recordings"),
        (content(x_train=np.asfortranarray(clips(5))), "x_train is stored by columns"),
        (content(x_train=clips(5).astype("U8")), "x_train: holds <U8, not real numbers"),
        (content(y_train=one_hot(np.arange(5)) > 0), "y_train: holds bool, not real numbers"),
        (
            content(x_train=clips(5, joints=20)),
            "frames of 120 numbers are not persons of 25 joints",
        ),
    ],
)
def test_a_file_of_something_else_is_one_clear_line(tmp_path, arrays, message):
    with pytest.raises(UserError, match=rf"x\.npz: {message}") as error:
        read(save(tmp_path / "x.npz", arrays))
    assert "\n" not in str(error.value)


def test_labels_may_be_the_numbers_of_the_classes(tmp_path):
    labels = np.array([0, 59, 2, -1, 4])
    found, rejects = read(save(tmp_path / "x.npz", content(y_train=labels)))
    assert rejects == {"train-00004": "its label is not a whole number from 0"}
    assert [found[f"train-{row:05}"].label for row in (1, 2, 3, 5)] == [0, 59, 2, 4]
    found, rejects = read(save(tmp_path / "x.npz", content(y_train=labels.astype("f4"))))
    assert len(found) == 3
    assert set(rejects.values()) == {"its label is not a whole number from 0"}


def test_a_compressed_file_says_how_to_store_it(tmp_path):
    source = save(tmp_path / "x.npz", content(), np.savez_compressed)
    with pytest.raises(
        UserError, match=r"x\.npz: x_train is compressed .* store it again: (np\.savez\(.*\))"
    ) as error:
        read(source)
    # The advice is right.
    advice = str(error.value).rpartition("store it again: ")[2]
    old = os.getcwd()
    os.chdir(tmp_path)
    try:
        os.rename("x.npz", "this.npz")
        eval(advice, {"np": np})
    finally:
        os.chdir(old)
    assert len(read(str(tmp_path / "stored.npz"))[0]) == 8


def test_nothing_is_unpickled(tmp_path):
    marker = tmp_path / "ran"
    bombs = np.empty((5, T, 150), object)
    bombs[...] = Bomb(marker)
    save(tmp_path / "x.npz", content(x_train=bombs))
    with pytest.raises(UserError, match="x_train: holds object, not real numbers"):
        read(str(tmp_path))
    assert not marker.exists()
    with np.load(tmp_path / "x.npz", allow_pickle=True) as file:
        file["x_train"]
    assert marker.exists(), "the file would have run code"


def header(shape, descr="<f4"):
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + (len(text) + 1).to_bytes(2, "little") + text + b"\n"


@pytest.mark.parametrize(
    "shape",
    [
        "(999999999999, 12, 150)",
        "(6, 12, 150)",
        "(4, 12, 150)",
        "(5, 12, 150, 0)",
        "(-5, -12, 150)",
        "(10**12, 12, 150)",
    ],
)
def test_a_header_that_lies_is_an_error(tmp_path, shape):
    with zipfile.ZipFile(save(tmp_path / "x.npz", without("x_train")), "a") as archive:
        archive.writestr("x_train.npy", header(shape) + clips(5).tobytes())
    tracemalloc.start()
    try:
        with pytest.raises(
            UserError, match=r"x\.npz: x_train: (holds 36000 bytes of numbers|not a \.npy file)"
        ):
            read(str(tmp_path))
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_number_of_clips(tmp_path):
    arrays = content(1, 1) | {
        "x_train": np.ones((2000, 30, 150), "f4"),
        "y_train": one_hot(np.zeros(2000, int)),
    }
    source = save(tmp_path / "x.npz", arrays)
    assert os.path.getsize(source) > 30 << 20
    reader = CtrgcnNpz()
    tracemalloc.start()
    try:
        members = reader.listing([source]).members
        with reader.opened([source], V) as parse:
            for member in members[::100]:
                parse(member)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert len(members) == 2001


def test_labels_tell_a_file_from_another(tmp_path):
    """A store of the one is not reused for the other: the names and sizes of all clips are the
    same."""
    labels = [[0, 1, 2, 3, 4], [0, 1, 2, 4, 3]]
    found = [
        CtrgcnNpz().listing([save(tmp_path / f"{number}.npz", content(y_train=one_hot(several)))])
        for number, several in enumerate([*labels, labels[0]])
    ]
    assert found[0] == found[2]
    assert found[0].members == found[1].members
    assert found[0].facts != found[1].facts


def test_other_packings_of_the_same_arrays(tmp_path):
    """Extra fields, comments, other members and bytes before the archive move the numbers; they are
    still found."""
    expected, _ = read(save(tmp_path / "x.npz", content()))
    for name, before in (("y.npz", b""), ("z.npz", b"#!/bin/sh\n")):
        (tmp_path / name).write_bytes(before)
        with zipfile.ZipFile(tmp_path / name, "a") as archive:
            archive.comment = b"and so on"
            archive.writestr("notes.txt", "x" * 999, zipfile.ZIP_DEFLATED)
            for key, value in reversed(content().items()):
                entry = zipfile.ZipInfo(f"{key}.npy")
                entry.extra = b"\x99\x99\x04\x00abcd"
                with archive.open(entry, "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, value)
        found, rejects = read(str(tmp_path / name))
        assert rejects == {}
        assert {clip: recording.bodies.tobytes() for clip, recording in found.items()} == {
            clip: recording.bodies.tobytes() for clip, recording in expected.items()
        }


SMALL = io.BytesIO()
np.savez(
    SMALL,
    x_train=clips(2, frames=2, joints=1),
    y_train=one_hot([0, 1], 2),
    x_test=clips(1, seed=1, frames=2, joints=1),
    y_test=one_hot([1], 2),
)
DATA = SMALL.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def survive(folder: Path, data: bytes) -> int | None:
    """Clips, named rejects or one error, whatever the bytes; returns the number of clips."""
    (folder / "x.npz").write_bytes(data)
    try:
        found, rejects = read(str(folder), joints=1)
    except UserError as error:
        assert "\n" not in str(error)
        return None
    assert len(found) + len(rejects) == 3
    assert all(np.isfinite(recording.bodies).all() for recording in found.values())
    return len(found)


def test_the_undamaged_one_is_whole_and_cut_anywhere_it_is_an_error(folder):
    assert survive(folder, DATA) == 3
    for length in range(len(DATA)):
        assert survive(folder, DATA[:length]) is None, length


@given(
    st.lists(
        st.tuples(st.integers(0, 5000), st.integers(0, 6), st.binary(max_size=6)),
        min_size=1,
        max_size=3,
    )
)
@examples(300)
def test_any_damage_gives_clips_rejects_or_one_error(folder, changes):
    data = DATA
    for at, removed, junk in changes:
        at %= len(data)
        data = data[:at] + junk + data[at + removed :]
    survive(folder, data)


@given(
    st.lists(st.tuples(st.integers(0, len(DATA) - 1), st.integers(0, 255)), min_size=1, max_size=3)
)
@examples(300)
def test_changed_bytes_give_clips_rejects_or_one_error(folder, changes):
    data = bytearray(DATA)
    for at, value in changes:
        data[at] = value
    survive(folder, bytes(data))


def test_it_is_ingested_as_configured(tmp_path):
    config = load(["data=ctrgcn_npz", "data.raw=x"])
    reader = reader_for(config.data.reader, config.data.classes)
    assert pickle.loads(pickle.dumps(reader)) == reader == READERS["ctrgcn_npz"]()
    arrays = content(7, 4)
    source = save(tmp_path / "x.npz", arrays)
    data = config.data
    job = ingest_job(
        [source],
        tmp_path / "store",
        reader,
        persons=data.persons,
        preparation=data.preparation,
    )
    report = ingest_shard(job, 0, reader.listing([source]).members)
    assert (report.rejects, report.flaws, report.shard["rows"]) == ([], [], 11)
    for row in pq.read_table(tmp_path / "store" / "shard-00000.parquet").to_pylist():
        side, number = row["clip_id"].split("-")
        assert row["split"] == list(config.data.protocols["published"].model_dump()[side]["split"])
        assert (
            row["joints"]
            == plain_clip(arrays[f"x_{side}"][int(number) - 1]).astype("<f4").tobytes()
        )
