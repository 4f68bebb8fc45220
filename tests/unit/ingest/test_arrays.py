import csv
import io
import math
import os
import pickle
import re
import tempfile
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.config.compose import load
from pipeline.core.errors import UserError
from pipeline.ingest.decode import table as table_module
from pipeline.ingest.decode.npy import parse as parse_npy
from pipeline.ingest.formats import READERS, reader_for
from pipeline.ingest.formats.arrays import Arrays
from pipeline.ingest.formats.clip_table import ClipTable
from pipeline.ingest.prepare import PRESETS, prepare
from pipeline.ingest.recording import RawRecording, Rejected
from pipeline.ingest.shard import ingest_shard
from pipeline.ingest.source import Member, RejectedRecording
from pipeline.ingest.tracks import bodies_of
from pipeline.store.protocols import parse
from tests.helpers.examples import examples
from tests.helpers.ingests import ingest_job, read_all
from tests.helpers.paths import SHARED_DATA
from tests.helpers.recordings import in_place

KINECT20 = SHARED_DATA / "kinect20-arrays.zip"
V = 4


def clip(frames=5, persons=None, seed=0):
    shape = (frames, V, 3) if persons is None else (persons, frames, V, 3)
    return np.random.default_rng(seed).normal(size=shape)


def npy(array, **options):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, **options)
    return file.getvalue()


def write_folder(folder, rows, files, header=None):
    """A folder of files (content, or an array to be saved) and clips.csv."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else npy(content))
    header = header or list(dict.fromkeys(key for row in rows for key in row))
    with open(folder / "clips.csv", "w", newline="") as file:
        table = csv.DictWriter(file, header)
        table.writeheader()
        table.writerows(rows)
    return str(folder)


def reader(**options):
    return Arrays(**{"table": "clips.csv", "select": {}, "fps": 30.0, **options})


def read(sources, joints=V, **options):
    """What the rows give: {clip_id: recording} and {path: why not}."""
    if isinstance(sources, str):
        sources = [sources]
    return read_all(reader(**options), sources, joints)


numbers = st.sampled_from(
    ["<f2", "<f4", "<f8", ">f2", ">f4", ">f8", "<i2", ">i4", "i1", "u1", "<u8"]
)
shapes = st.tuples(st.integers(1, 3), st.integers(1, 5), st.just(V), st.just(3))


@st.composite
def stored(draw):
    """An array as users have it, [M, T, V, 3]: any kind of number, order and hole."""
    dtype, shape = np.dtype(draw(numbers)), draw(shapes)
    values = (
        st.integers(0, 100)
        if dtype.kind in "iu"
        else st.sampled_from([0.0, -0.0, 1.5, -2.25, np.nan, np.inf, -np.inf, 1e-3, 700.0])
    )
    array = draw(hnp.arrays(dtype, shape, elements=values, fill=st.just(dtype.type(0))))
    return np.asfortranarray(array) if draw(st.booleans()) else array


def plain_clip(array):
    """What a stored array says, frame by frame and joint by joint: clip [T, M, V, 3], frames with
    unseen joints."""
    clip, unseen = np.zeros((array.shape[1], array.shape[0], V, 3)), set()
    for m, t, v in np.ndindex(array.shape[:3]):
        joint = [float(value) for value in array[m, t, v]]
        if all(math.isfinite(value) for value in joint):
            clip[t, m, v] = joint
        else:
            unseen.add(t)
    return clip, len(unseen)


@given(stored())
@examples(200)
def test_every_kind_of_array_is_what_its_numbers_say(array):
    expected, unseen = plain_clip(array)
    found = parse_npy(npy(array))
    assert np.array_equal(found, array, equal_nan=True)
    if not expected.any():
        with pytest.raises(RejectedRecording, match="no body in any frame"):
            bodies_of(found)
        return
    recording = RawRecording("a", performance="a", **bodies_of(found))
    assert np.array_equal(in_place(recording, len(array)), expected)
    assert recording.frames == array.shape[1]
    people = [[m for m in range(len(array)) if frame[m].any()] for frame in expected]
    assert np.diff(recording.offsets).tolist() == [max(those, default=-1) + 1 for those in people]
    assert recording.body_ids.tolist() == [
        m for those in people for m in range(max(those, default=-1) + 1)
    ]
    holes = (
        f"{unseen} of {array.shape[1]} frames have joints that are not numbers, taken as not seen"
    )
    assert recording.flaws == ((holes,) if unseen else ())
    # Persons keep their places in a clip, and what is left out are frames that hold nobody.
    assert np.array_equal(
        prepare(recording, PRESETS["recorded"], len(array))[0],
        expected[expected.any(axis=(1, 2, 3))].astype("f4"),
    )


def test_a_row_says_who_what_and_where(tmp_path):
    rows = [
        {
            "clip_id": "007",
            "path": "a.npy",
            "label": "3",
            "subject": "1.0",
            "camera": " 2 ",
            "setup": "",
            "replication": 5,
        },
        {
            "clip_id": "x/y:z",
            "path": "sub/./b.npy",
            "performance": "p",
            "split": " xsub_train  xview_test xsub_train",
        },
        {
            "clip_id": " c ",
            "path": " a.npy ",
            "label": "NaN",
            "subject": "NA",
            "camera": "0",
            "performance": "nan",
        },
    ]
    files = {"a.npy": clip(), "sub/b.npy": clip(persons=2), "notes.txt": b"", "unused.npy": clip()}
    folder = write_folder(tmp_path, rows, files)
    found, rejects = read(folder)
    assert rejects == {}
    assert reader().listing([folder]).ignored == 2
    facts = ("label", "subject", "camera", "setup", "replication", "performance", "split")
    assert {name: [getattr(r, fact) for fact in facts] for name, r in found.items()} == {
        "007": [3, 1, 2, None, 5, "007", ()],
        "x/y:z": [None, None, None, None, None, "p", ("xsub_train", "xview_test")],
        "c": [None, None, 0, None, None, "c", ()],
    }
    assert np.array_equal(found["007"].bodies, clip())
    assert np.array_equal(in_place(found["x/y:z"], 2), clip(persons=2).swapaxes(0, 1))


def parquet(folder, **columns):
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), folder / "clips.parquet")
    return str(folder)


def test_a_parquet_table_says_the_same(tmp_path):
    folder = parquet(
        tmp_path,
        clip_id=["a", "b"],
        path=["a.npy", "a.npy"],
        label=pa.array([4.0, None]),
        subject=pa.array([float("nan"), 3.0]),
        camera=pa.array([2, None], pa.int8()),
        setup=pa.array(["1", "2"]).dictionary_encode(),
        replication=pa.nulls(2),
        split=["train all", None],
        performance=pa.array(
            [float("nan"), float("nan")]
        ),  # a column of nothing, as pandas writes it
        clothes=[{"colour": 1}, None],
    )
    (tmp_path / "a.npy").write_bytes(npy(clip()))
    found, rejects = read(folder, table="clips.parquet", select={"camera": 2})
    assert (list(found), rejects) == (["a"], {})
    found, rejects = read(folder, table="clips.parquet")
    assert rejects == {}
    a, b = found["a"], found["b"]
    assert (a.label, a.subject, a.camera, a.setup, a.split, a.performance) == (
        4,
        None,
        2,
        1,
        ("train", "all"),
        "a",
    )
    assert (b.label, b.subject, b.camera, b.setup, b.split, b.performance) == (
        None,
        3,
        None,
        2,
        (),
        "b",
    )


def test_texts_of_a_parquet_table_that_are_none_are_an_error(tmp_path):
    column = pa.array([b"a\xae"]).view(pa.string())
    with pytest.raises(UserError, match=r"clips\.parquet: cannot be read as a table .*UTF8"):
        reader(table="clips.parquet").listing([parquet(tmp_path, clip_id=column, path=["a.npy"])])


def test_a_parquet_table_whose_column_sizes_do_not_fit_is_an_error(tmp_path):
    """Arrow ends the process where it is asked for the columns of such a row group."""
    folder = parquet(tmp_path, clip_id=["a", "b"], path=["a.npy", "a.npy"])
    data = (tmp_path / "clips.parquet").read_bytes()
    footer = data[-8 - int.from_bytes(data[-8:-4], "little") : -8]
    histogram, longer = (
        b"\x26\x00\x04",
        b"\x36\x00\x04\x00",
    )  # of definition levels: 0 nulls and 2 values, and one more
    damaged = footer.replace(histogram, longer, 1)
    assert len(damaged) == len(footer) + 1
    (tmp_path / "clips.parquet").write_bytes(
        data[: -8 - len(footer)] + damaged + len(damaged).to_bytes(4, "little") + b"PAR1"
    )
    with pytest.raises(UserError, match=r"cannot be read as a table .*histogram size mismatch"):
        reader(table="clips.parquet").listing([folder])


def repeated(text, times):
    return pa.array([text]).take(pa.array(np.zeros(times, int)))


BOMBS = {
    "texts": lambda: {"clip_id": repeated("x" * 1000, 20_000)},
    "texts of a dictionary": lambda: {
        "clip_id": pa.DictionaryArray.from_arrays(pa.array(np.zeros(20_000, "i4")), ["x" * 1000])
    },
    "lists": lambda: {
        "clip_id": ["a", "b"],
        "split": pa.ListArray.from_arrays([0, 0, 20_000], repeated("x" * 1000, 20_000)),
    },
    "nothing in a list": lambda: {
        "clip_id": ["a"],
        "split": pa.ListArray.from_arrays([0, 100_001], pa.nulls(100_001, pa.string())),
    },
    "structures": lambda: {"clip_id": ["a"], "split": [{"a": "x" * 1000}]},
    "rows": lambda: {"clip_id": pa.nulls(100_001, pa.string())},
    "a text": lambda: {"clip_id": ["x" * (20 << 20)]},
    "a long text": lambda: {"clip_id": ["a", "\u00e4" * 2049]},
}


@pytest.mark.parametrize("dictionary", [True, False])
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_small_parquet_table_that_stands_for_much_is_refused(
    tmp_path, monkeypatch, bomb, dictionary
):
    for name, value in {"MAX_TEXT_BYTES": 4 << 20, "MAX_ROWS": 100_000, "BATCH_ROWS": 1000}.items():
        monkeypatch.setattr(table_module, name, value)
    columns = BOMBS[bomb]()
    table = pa.table({**columns, "path": repeated("a.npy", len(columns["clip_id"]))})
    pq.write_table(table, tmp_path / "clips.parquet", compression="zstd", use_dictionary=dictionary)
    assert os.path.getsize(tmp_path / "clips.parquet") < 100_000
    before, pool = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(pool)
    try:
        with pytest.raises(
            UserError, match=r"clips\.parquet: cannot be read as a table \((.*)\)"
        ) as error:
            reader(table="clips.parquet").listing([str(tmp_path)])
    finally:
        pa.set_memory_pool(before)
    reasons = (
        "stands for more than 4 MiB|more than 100,000 rows"
        "|a value of column clip_id has more than 4096"
        "|column split holds lists or structures: one text or number a row"
    )
    assert re.search(reasons, str(error.value))
    assert pool.max_memory() < 12 << 20


def test_a_parquet_table_is_read_in_batches_and_any_order_of_columns(tmp_path):
    rows = 25_000
    folder = parquet(
        tmp_path,
        split=pa.array(["a b", "b", ""]).take(pa.array(np.arange(rows) % 3)),
        path=pa.array(["a.npy", "b.npy"]).take(pa.array(np.arange(rows) % 2)),
        label=pa.array(np.arange(rows) % 7).dictionary_encode(),
        clip_id=[f"clip{n}" for n in range(rows)],
    )
    for name in ("a", "b"):
        (tmp_path / f"{name}.npy").write_bytes(GOOD)
    arrays = reader(table="clips.parquet")
    members = arrays.listing([folder]).members
    assert sorted(member.name for member in members) == sorted(f"clip{n}" for n in range(rows))
    with arrays.opened([folder], V) as parse_member:
        for member in members[::997]:
            number = int(member.name[4:])
            (recording,) = parse_member(member)
            assert (recording.clip_id, recording.label) == (member.name, number % 7)
            assert (member.path, recording.split) == (
                "ab"[number % 2] + ".npy",
                [("a", "b"), ("b",), ()][number % 3],
            )


def test_a_long_value_of_a_csv_table_is_refused(tmp_path):
    folder = write_folder(tmp_path, [{"clip_id": "x" * 4096, "path": "a.npy"}], {"a.npy": clip()})
    assert len(read(folder)[0]) == 1
    folder = write_folder(tmp_path, [{"clip_id": "x" * 4097, "path": "a.npy"}], {})
    with pytest.raises(UserError, match="a value of column clip_id has more than 4096 bytes"):
        reader().listing([folder])


texts = st.sampled_from(["", "a", "a b", "b", "\u00e4", "\U0001f600", "\uffff", "z", "-1"])


@given(st.lists(st.tuples(texts, texts, texts), min_size=1, max_size=30))
@examples(150)
def test_a_row_is_found_as_a_scan_of_the_table_finds_it(rows):
    file = io.StringIO(newline="")
    table = csv.writer(file, quoting=csv.QUOTE_ALL)
    table.writerows([("clip_id", "path", "subject"), *rows])
    table = ClipTable.of("x", "clips.csv", file.getvalue().encode(), {})
    nameless = "a row without clip_id and path"
    called = [(name or path or nameless, path or name or nameless) for name, path, _ in rows]
    assert sorted(table.members()) == sorted(called)
    for name, path in {*called, ("a", "nowhere"), ("\u00f6", "a"), ("zz", "zz")}:
        same = {row for row, key in zip(rows, called, strict=True) if key == (name, path)}
        if len(same) == 1 and all(next(iter(same))[:2]):
            found = table.row(Member(name, path, 0))
            assert same == {(found["clip_id"], found["path"], found["subject"] or "")}
        else:
            count = called.count((name, path))
            different = f"{count} rows of the table say different things of it"
            with pytest.raises(
                RejectedRecording,
                match=f"its row has no|{different}" if count else "no longer in x",
            ):
                table.row(Member(name, path, 0))


def test_finding_a_row_takes_no_scan():
    rows = 200_000
    table = ClipTable.of(
        "x", "clips.csv", b"clip_id,path\n" + b"".join(b"%d,a\n" % n for n in range(rows)), {}
    )
    started = time.process_time()
    for number in range(0, rows, 100):
        assert table.row(Member(str(number), "a", 0))["clip_id"] == str(number)
    assert time.process_time() - started < 0.5e-3 * rows / 100


def test_labels_may_be_names_of_classes(tmp_path):
    labels = {"a": "wave", "b": "draw x", "c": "1", "d": "Wave", "e": "2.5", "f": "-1", "g": ""}
    rows = [
        {"clip_id": name, "path": f"{name}.npy", "label": label} for name, label in labels.items()
    ]
    folder = write_folder(tmp_path, rows, {f"{name}.npy": clip() for name in labels})
    found, rejects = read(folder, classes=["draw x", "wave"])
    assert {name: recording.label for name, recording in found.items()} == {
        "a": 1,
        "b": 0,
        "c": 1,
        "g": None,
    }
    assert rejects == {
        f"{name}.npy": f"label {labels[name]!r} is neither a number from 0 nor one of the 2 classes"
        for name in "def"
    }
    found, rejects = read(folder)
    assert list(found) == ["c", "g"]
    assert (
        rejects["a.npy"]
        == "label 'wave' is neither a number from 0 nor a class: data.classes is null"
    )
    # Classes called by numbers: taken only where both readings agree.
    found, rejects = read(folder, classes=["1", "wave"])
    assert rejects["c.npy"] == "label '1' is the name of class 0 and the number of another"
    assert read(folder, classes=["wave", "1"])[0]["c"].label == 1


class Bomb:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


GOOD = npy(clip())


def says(descr, shape, data=GOOD[128:]):
    """An array whose header says this."""
    return remade(
        f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}}}".encode(), data
    )


def remade(text, data=GOOD[128:]):
    text = text + b" " * (-(10 + len(text) + 1) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def test_labels_may_be_in_another_column(tmp_path):
    rows = [
        {"clip_id": "a", "path": "a.npy", "label": "7", "action": " draw x ", "subject": "3"},
        {"clip_id": "b", "path": "a.npy", "label": "8", "action": "wave", "subject": "2"},
        {"clip_id": "c", "path": "a.npy", "label": "0", "action": "jump", "subject": "1"},
        {"clip_id": "d", "path": "a.npy", "label": "1", "action": "", "subject": "0"},
    ]
    folder = write_folder(tmp_path, rows, {"a.npy": clip()})
    found, rejected = read(folder, classes=["wave", "draw x"], label_column="action")
    assert {name: one.label for name, one in found.items()} == {"a": 1, "b": 0, "d": None}
    assert list(rejected.values()) == [
        "label 'jump' is neither a number from 0 nor one of the 2 classes"
    ]
    # A column may be two things.
    found, _ = read(folder, label_column="subject")
    assert {name: (one.label, one.subject) for name, one in found.items()} == {
        "a": (3, 3),
        "b": (2, 2),
        "c": (1, 1),
        "d": (0, 0),
    }
    columns = "clip_id, path, label, action, subject$"
    with pytest.raises(UserError, match=f"has no column 'class'; its columns: {columns}"):
        reader(label_column="class").listing([folder])


def test_the_usual_column_of_labels_leaves_a_store_as_it_was():
    """Stores that were made before there was a choice are reused, and keep their fingerprint."""
    assert "label_column" not in reader().record()
    assert reader(label_column="action").record()["label_column"] == "action"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a .npy file"),
        (b"x,y,z\n1,2,3\n", "not a .npy file"),
        (GOOD[:50], "not a .npy file"),
        (GOOD[:-1], "holds 479 bytes of numbers, its header says 480"),
        (GOOD[:128], "holds 0 bytes of numbers, its header says 480"),
        (GOOD + b"\0", "holds 481 bytes"),
        (b"\x93NUMPY\x03\x00" + GOOD[8:], "npy format 3.0, expected 1.0 or 2.0"),
        (b"\x93NUMPY\x09\x00" + GOOD[8:], "npy format 9.0, expected 1.0 or 2.0"),
        (says("<f8", "(999999999999, 4, 3)"), "says something impossible"),
        (says("<f8", "(6, 4, 3)"), "holds 480 bytes of numbers, its header"),
        (says("<f8", "(-1, -20, 3)"), "impossible"),
        (says("<f8", f"({'9' * 4000}, 4, 3)"), "impossible"),
        (says("<f8", f"(0, {'9' * 4000})", b""), "impossible"),
        (says("<f8", f"({'1, ' * 99})", b"8 bytes!"), "impossible"),
        (says("<f8", "(" * 500), "not a .npy file"),
        (says("|V400000000", "(5, 4, 3)"), "|V400000000, not real numbers"),
        (
            remade(b"{'descr': [('x', '<f8')], 'fortran_order': False, 'shape': (5, 4, 3)}"),
            "not real numbers",
        ),
        (says("|O", "(5, 4, 3)"), "object, not real numbers"),
        (says("nonsense", "(5, 4, 3)"), "not a .npy file"),
        (remade(b"__import__('os').system('true')"), "not a .npy file"),
        (remade(b"{'shape': (5, 4, 3)}"), "not a .npy file"),
        (npy(clip().astype("c16")), "complex128, not real numbers"),
        (npy(clip() > 0), "bool, not real numbers"),
        (npy(clip().astype("U9")), "<U9, not real numbers"),
        (npy(clip().astype("M8[s]")), "datetime64"),
        (npy(np.zeros((0, V, 3))), "no frames"),
        (npy(np.zeros((0, 5, V, 3))), "no frames"),
        (npy(np.zeros((0, 9999, V, 3))), "no frames"),
        (says("<f8", "(0, 2147483647, 2147483647, 2147483647)", b""), "impossible"),
        (npy(np.zeros((5, V, 3))), "no body in any frame"),
        (npy(np.full((5, V, 3), np.nan)), "no body in any frame"),
        (npy(clip() * 1e7), "not metres"),
        (npy(np.full((5, V, 3), 5e6)), "not metres"),
        (
            npy(clip()[:, :-1]),
            r"shape [5, 3, 3], expected [frames, 4, 3] or [persons, frames, 4, 3]",
        ),
        (npy(clip()[..., :2]), "shape [5, 4, 2]"),
        (npy(clip()[0]), "shape [4, 3]"),
        (npy(np.float64(3)), "shape []"),
        (npy(np.zeros((1, 1, 5, V, 3))), "shape [1, 1, 5, 4, 3]"),
        (
            npy(clip(2, 60)),
            "shape [60, 2, 4, 3] would be 60 persons, "
            "expected [frames, 4, 3] or [persons, frames, 4, 3]",
        ),
        (npy(clip(9, 9)), "shape [9, 9, 4, 3] would be 9 persons"),
        (npy(clip(2, 3)), "shape [3, 2, 4, 3] would be 3 persons"),
    ],
)
def test_a_damaged_array_is_rejected_by_name(tmp_path, data, reason):
    folder = write_folder(
        tmp_path,
        [{"clip_id": n, "path": f"{n}.npy"} for n in ("bad", "good")],
        {"bad.npy": data, "good.npy": GOOD},
    )
    found, rejects = read(folder)
    assert list(found) == ["good"]
    assert list(rejects) == ["bad.npy"]
    assert reason in rejects["bad.npy"]


def test_what_a_header_claims_is_not_allocated():
    data = says("<f8", "(99999999, 4, 3)")
    tracemalloc.start()
    try:
        with pytest.raises(RejectedRecording, match="its header says"):
            parse_npy(data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_nothing_is_unpickled(tmp_path):
    marker = tmp_path / "ran"
    array = np.empty(1, object)
    array[0] = Bomb(marker)
    files = {"a.npy": npy(array, allow_pickle=True), "b.npy": pickle.dumps(Bomb(marker))}
    folder = write_folder(tmp_path, [{"clip_id": name, "path": name} for name in files], files)
    found, rejects = read(folder)
    assert (found, list(rejects)) == ({}, ["a.npy", "b.npy"])
    assert not marker.exists()
    np.load(tmp_path / "a.npy", allow_pickle=True)
    assert marker.exists(), "the file would have run code"


def test_rows_that_cannot_be_used_are_rejected_by_name(tmp_path):
    big = str(2**31)
    rows = [
        {"clip_id": "good", "path": "a.npy", "label": 1},
        {"clip_id": "up", "path": "../secret.npy"},
        {"clip_id": "middle", "path": "sub/../../secret.npy"},
        {"clip_id": "root", "path": str(tmp_path / "secret.npy")},
        {"clip_id": "url", "path": f"file://{tmp_path}/secret.npy"},
        {"clip_id": "gone", "path": "gone.npy"},
        {"clip_id": "folder", "path": "sub"},
        {"clip_id": "null", "path": "a.npy\0"},
        {"clip_id": "text", "path": "b.npy", "label": "x", "subject": 1},
        {"clip_id": "half", "path": "c.npy", "subject": "1.5"},
        {"clip_id": "minus", "path": "d.npy", "camera": "-1"},
        {"clip_id": "big", "path": "e.npy", "setup": big},
        {"clip_id": "many", "path": "f.npy", "replication": "9" * 400},
        {"clip_id": "arabic", "path": "g.npy", "subject": "\u0661"},
        {"clip_id": "", "path": "h.npy"},
        {"clip_id": "no path", "path": ""},
        {"clip_id": "", "path": "", "label": 7},
    ]
    (tmp_path / "secret.npy").write_bytes(GOOD)
    folder = write_folder(
        tmp_path / "data",
        rows,
        {**{f"{letter}.npy": clip() for letter in "abcdefgh"}, "sub/x.npy": clip()},
    )
    found, rejects = read(folder)
    assert list(found) == ["good"]
    outside = "path leaves the folder of the table"
    assert rejects == {
        "../secret.npy": outside,
        "sub/../../secret.npy": outside,
        str(tmp_path / "secret.npy"): outside,
        f"file://{tmp_path}/secret.npy": "no such file",
        "gone.npy": "no such file",
        "sub": "no such file",
        "a.npy\0": "no such file",
        "b.npy": "label 'x' is neither a number from 0 nor a class: data.classes is null",
        "c.npy": "subject '1.5' is not a whole number from 0",
        "d.npy": "camera '-1' is not a whole number from 0",
        "e.npy": f"setup {big!r} is not a whole number from 0",
        "f.npy": f"replication {'9' * 40!r} is not a whole number from 0",
        "g.npy": "subject '\u0661' is not a whole number from 0",
        "h.npy": "its row has no clip_id",
        "no path": "its row has no path",
        "a row without clip_id and path": "its row has no clip_id",
    }


def test_a_path_in_a_zip_cannot_leave_it_either(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("data/clips.csv", "clip_id,path\na,a.npy\nb,../b.npy\nc,/etc/passwd\n")
        archive.writestr("data/a.npy", GOOD)
        archive.writestr("b.npy", GOOD)
        archive.writestr("/etc/passwd", GOOD)
    found, rejects = read(str(tmp_path / "x.zip"))
    assert list(found) == ["a"]
    assert rejects == {
        name: "path leaves the folder of the table"
        for name in ("data/../b.npy", "data//etc/passwd")
    }


def test_rows_of_one_name(tmp_path):
    rows = [
        {"clip_id": "same", "path": "a.npy", "label": 1},
        {"clip_id": "same", "path": "a.npy", "label": 1},
        {"clip_id": "differs", "path": "a.npy", "label": 1},
        {"clip_id": "differs", "path": "a.npy", "label": 2},
        {"clip_id": "places", "path": "a.npy", "label": 1},
        {"clip_id": "places", "path": "b.npy", "label": 2},
    ]
    folder = write_folder(tmp_path, rows, {"a.npy": clip(), "b.npy": clip(seed=1)})
    arrays = reader()
    members = arrays.listing([folder]).members
    assert [member.name for member in members] == sorted(row["clip_id"] for row in rows)
    job = ingest_job([folder], tmp_path / "store", arrays, joints=V, persons=1)
    report = ingest_shard(job, 0, [members[n] for n in (0, 2, 4)])
    # `ingest` hands on one member a name, the first by path: which label it gets is no accident.
    assert report.rejects == [Rejected("a.npy", "2 rows of the table say different things of it")]
    shard = pq.read_table(tmp_path / "store" / "shard-00000.parquet").to_pydict()
    assert dict(zip(shard["clip_id"], shard["label"], strict=True)) == {"same": 1, "places": 1}


def test_rows_of_another_length_are_rejected(tmp_path):
    (tmp_path / "a.npy").write_bytes(GOOD)
    (tmp_path / "clips.csv").write_text(
        'clip_id,path,label\na,a.npy,1\nb,a.npy\n\nc,a.npy,1,2\n"d,e",a.npy,2\n'
    )
    found, rejects = read(str(tmp_path))
    assert {name: recording.label for name, recording in found.items()} == {"a": 1, "d,e": 2}
    assert rejects == {
        f"row {n}": f"{v} values in its row, the table has 3 columns" for n, v in ((3, 2), (4, 4))
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"data: clips\.csv: cannot be read as a table"),
        (b"\n", "cannot be read as a table"),
        (b"name,file\na,a.npy\n", "has no column 'clip_id'; its columns: name, file"),
        (b"clip_id;path\na;a.npy\n", "has no column 'clip_id'"),
        (b"clip_id,label\na,1\n", "has no column 'path'; its columns: clip_id, label"),
        (b"clip_id,path,label,label\na,a.npy,1,2\n", "two columns are called label"),
        (b"clip_id,path\n\xff\xfe,a.npy\n", "cannot be read as a table .*utf-8"),
        ("clip_id,path\na,a.npy\n".encode("utf-16"), "has no column|cannot be read as a table"),
        # A quotation mark that is not closed swallows rows.
        (b'clip_id,path\na,a.npy\n"b,a.npy\nc,a.npy\nd,a.npy\n', "a value goes over several lines"),
        (
            b'clip_id,path\na,a.npy\nb,"a.npy\nc,a.npy\nd",a.npy\n',
            "a value goes over several lines",
        ),
        (
            b'clip_id,path,notes\na,a.npy,"x\nb,a.npy,x\nc,a.npy,"\nd,a.npy,x\n',
            "a value goes over several lines",
        ),
        (b"PAR1" + bytes(100), "cannot be read as a table"),
        (b"PAR1", "cannot be read as a table"),
    ],
)
def test_a_table_that_is_none_is_one_clear_line(tmp_path, content, message):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "clips.csv").write_bytes(content)
    (folder / "a.npy").write_bytes(GOOD)
    with pytest.raises(UserError, match=message) as error:
        reader().listing([str(folder)])
    assert "\n" not in str(error.value)


def test_blanks_marks_and_line_ends_of_a_table_do_not_matter(tmp_path):
    (tmp_path / "a.npy").write_bytes(GOOD)
    (tmp_path / "clips.csv").write_bytes(
        b"\xef\xbb\xbfclip_id, path ,label,,\r\n a , a.npy ,3,,\r\n,,,,\r\n"
    )
    found, rejects = read(str(tmp_path))
    assert [recording.label for recording in found.values()] == [3]
    assert list(rejects) == ["a row without clip_id and path"]


def test_a_table_without_rows_holds_no_recordings(tmp_path):
    folder = write_folder(tmp_path, [], {}, header=["clip_id", "path"])
    with pytest.raises(
        UserError, match=r"holds no recordings \(its table clips\.csv has no rows\)"
    ):
        reader().listing([folder])


def test_only_rows_that_are_meant_are_read(tmp_path):
    rows = [
        {"clip_id": "a", "path": "a.npy", "dataset": "one", "camera": 1, "label": "x"},
        {"clip_id": "b", "path": "a.npy", "dataset": "two", "camera": "1.0", "label": 1},
        {"clip_id": "c", "path": "a.npy", "dataset": "two", "camera": "", "label": 1},
        {"clip_id": "d", "path": "a.npy", "dataset": "two+", "camera": 11, "label": 1},
    ]
    folder = write_folder(tmp_path, rows, {"a.npy": clip()})
    assert list(read(folder, select={"dataset": "two"})[0]) == ["b", "c"]
    assert list(read(folder, select={"dataset": "two+"})[0]) == ["d"]
    assert list(read(folder, select={"dataset": "two", "camera": 1})[0]) == ["b"]
    assert read(folder, select={"dataset": "two"})[1] == {}
    with pytest.raises(
        UserError,
        match=r"no row with dataset=three \(data\.reader\.select\); there are: one, two, two\+",
    ):
        read(folder, select={"dataset": "three"})
    with pytest.raises(UserError, match="has no column 'colour'"):
        read(folder, select={"colour": 1})


def test_the_table_is_found_by_its_name_or_its_path(tmp_path):
    rows, files = [{"clip_id": "a", "path": "sub/a.npy"}], {"sub/a.npy": clip()}
    (tmp_path / "deep" / "er").mkdir(parents=True)
    write_folder(tmp_path / "deep" / "er", rows, files)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for path in ("clips.csv", "sub/a.npy"):
            archive.write(tmp_path / "deep" / "er" / path, f"deep/er/{path}")
    for source in (str(tmp_path / "deep"), str(tmp_path / "x.zip")):
        for table in ("clips.csv", "er/clips.csv"):
            found, rejects = read(source, table=table)
            assert (list(found), rejects) == (["a"], {})
        with pytest.raises(UserError, match=r"holds no table other\.csv \(data\.reader\.table\)"):
            read(source, table="other.csv")
    write_folder(tmp_path / "deep", [{"clip_id": "b", "path": "er/sub/a.npy"}], {})
    assert list(read(str(tmp_path / "deep"))[0]) == ["b"], "the nearest, where one lies at the top"
    assert list(read(str(tmp_path / "deep"), table="er/clips.csv")[0]) == ["a"]
    with pytest.raises(
        UserError, match=r"holds 2 tables clips\.csv \(deep/clips\.csv, deep/er/clips\.csv\)"
    ):
        read(str(tmp_path))


def test_several_sources_have_a_table_each(tmp_path):
    sources = []
    for name in "ab":
        (tmp_path / name).mkdir()
        rows = [{"clip_id": name, "path": "x.npy", "label": ord(name)}]
        sources.append(write_folder(tmp_path / name, rows, {"x.npy": clip(seed=ord(name))}))
    found, rejects = read(sources)
    assert rejects == {}
    for name, recording in found.items():
        assert recording.label == ord(name)
        assert np.array_equal(recording.bodies, clip(seed=ord(name)))
    (tmp_path / "b" / "clips.csv").unlink()
    with pytest.raises(UserError, match=r"b: holds no table clips\.csv"):
        read(sources)


@given(st.integers(0, len(GOOD)), st.binary(max_size=20), st.integers(0, 20))
@examples(300)
def test_any_damage_of_an_array_is_seen_or_none(at, junk, removed):
    agrees_with_numpy(GOOD[:at] + junk + GOOD[at + removed :])


@given(st.binary(max_size=200))
def test_any_header_is_read_as_numpy_does_or_rejected(text):
    agrees_with_numpy(remade(text))


def agrees_with_numpy(data):
    try:
        found = parse_npy(data)
    except RejectedRecording:
        return
    expected = np.load(io.BytesIO(data), allow_pickle=False)
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected, equal_nan=True)


def pieces(data, changes):
    """Bytes cut, replaced and repeated."""
    for at, removed, junk in changes:
        at %= len(data) + 1
        data = data[:at] + junk + data[at + removed :]
    return data


CSV = b'clip_id,path,label,subject\na,a.npy,1,2\n"b",a.npy,3,\nc,b.npy,x,1.5\n'
PARQUET = io.BytesIO()
pq.write_table(
    pa.table({"clip_id": ["a", "b"], "path": ["a.npy", "b.npy"], "label": [1, 2]}), PARQUET
)
damage = st.lists(
    st.tuples(st.integers(0, 4000), st.integers(0, 9), st.binary(max_size=9)),
    min_size=1,
    max_size=3,
)


@pytest.mark.parametrize("table", [CSV, PARQUET.getvalue()], ids=["csv", "parquet"])
@given(changes=damage)
@examples(150)
def test_any_damage_of_a_table_gives_clips_rejects_or_one_error(table, changes):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "a.npy").write_bytes(GOOD)
        Path(folder, "clips.csv").write_bytes(pieces(table, changes))
        try:
            found, _ = read(folder)
        except UserError as error:
            assert "\n" not in str(error)
            return
        assert all(np.array_equal(recording.bodies, clip()) for recording in found.values())


def test_ready_configurations_are_whole():
    for name, classes in (("msr_action3d", 20), ("msr_dailyactivity3d", 16), ("utkinect", 10)):
        config = load([f"data={name}", "data.raw=x"])
        arrays = reader_for(config.data.reader, config.data.classes)
        assert pickle.loads(pickle.dumps(arrays)) == arrays
        assert arrays.classes == config.data.classes
        assert len(set(arrays.classes)) == classes
        sides = parse({name: sides.model_dump() for name, sides in config.data.protocols.items()})[
            config.data.protocol
        ]
        assert set(sides) == {"train", "test"}
    assert READERS["arrays"] is Arrays


# Known of the recordings: clips, frames, clips with empty frames (but not of these alone), clips
# with holes.
@pytest.mark.parametrize(
    ("name", "clips", "frames", "empty", "unseen", "rejects"),
    [
        ("msr_action3d", 567, 23478, 19, 0, ["msr-action3d/a13_s09_e02.npy"]),
        ("msr_dailyactivity3d", 320, 61344, 3, 4, []),
        ("utkinect", 200, 6244, 0, 0, []),
    ],
)
def test_the_real_arrays_are_whole_and_their_flaws_named(
    tmp_path, name, clips, frames, empty, unseen, rejects
):
    if not KINECT20.exists():
        pytest.skip(f"the Kinect v1 sets are not there ({KINECT20})")
    config = load([f"data={name}", f"data.raw={KINECT20}"])
    arrays = reader_for(config.data.reader, config.data.classes)
    members = arrays.listing(config.data.sources).members
    classes = len(arrays.classes)
    job = ingest_job(config.data.sources, tmp_path, arrays, joints=20, persons=1, classes=classes)
    report = ingest_shard(job, 0, members)
    assert len(members) == clips
    assert [reject.name for reject in report.rejects] == rejects
    assert report.shard["rows"] == clips - len(rejects)
    holds = [flaw.clip_id for flaw in report.flaws if "hold nobody" in flaw.flaw]
    holes = [flaw.clip_id for flaw in report.flaws if "not numbers" in flaw.flaw]
    assert (len(holds), len(holes)) == (empty, unseen)
    with zipfile.ZipFile(KINECT20) as archive:
        table = list(csv.DictReader(io.TextIOWrapper(archive.open("clips.csv"))))
        raw = {row["clip_id"]: np.load(io.BytesIO(archive.read(row["path"]))) for row in table}
    seen = {name: np.where(np.isfinite(x).all(-1, keepdims=True), x, 0) for name, x in raw.items()}
    stored = pq.read_table(tmp_path / "shard-00000.parquet").to_pylist()
    assert sum(len(seen[member.name]) for member in members) == frames
    for row in stored:
        expected = seen[row["clip_id"]]
        assert row["joints"] == expected[expected.any(axis=(1, 2))].astype("<f4").tobytes()
