import builtins
import collections
import copyreg
import io
import os
import pickle
import struct
import sys
import time
import tracemalloc
import zipfile
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.compose import load as load_config
from pipeline.core.errors import UserError
from pipeline.ingest.decode import pickles as safe
from pipeline.ingest.formats import READERS, ntu, reader_for
from pipeline.ingest.formats.pyskl import Pyskl
from pipeline.ingest.shard import ingest_shard
from pipeline.ingest.source import RejectedRecording
from pipeline.store.protocols import SPLIT, counts
from tests.helpers.examples import examples
from tests.helpers.ingests import ingest_here, ingest_job, ingest_request, read_all
from tests.helpers.recordings import in_place, people, skeleton_text

V = 25
PROTOCOLS = [2, 3, 4, 5]


def keypoint(frames=4, persons=1, seed=0, kind="f2"):
    return np.random.default_rng(seed).normal(size=(persons, frames, V, 3)).astype(kind)


def annotation(name, array=None, label=3, **changed):
    array = keypoint() if array is None else array
    return {
        "frame_dir": name,
        "label": label,
        "keypoint": array,
        "total_frames": array.shape[1],
        **changed,
    }


def save(path, content, protocol=4):
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
    return str(path)


def read(source):
    """What a file holds: {clip_id: recording} and {path: why not}."""
    return read_all(Pyskl(), [source], V)


def shapes_of(array):
    """The same array as it may come to be pickled."""
    yield array
    yield np.asfortranarray(array)
    yield array[::-1]
    yield np.ascontiguousarray(array.transpose(1, 3, 0, 2)).transpose(2, 0, 3, 1)
    yield array.astype(array.dtype.newbyteorder(">"))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", ["f2", "f4", "f8", "i2"])
def test_every_array_is_read_as_it_was_pickled(tmp_path, protocol, kind):
    arrays = {}
    for number, (frames, persons) in enumerate([(1, 1), (4, 2), (60, 2)]):
        array = (keypoint(frames, persons, seed=number, kind="f8") * 30).astype(kind)
        for form, same in enumerate(shapes_of(array)):
            arrays[f"clip{number}-{form}"] = same
    content = {
        "split": {"train": list(arrays)[::2], "val": list(arrays)[1::2], "all": tuple(arrays)},
        "annotations": [annotation(name, array) for name, array in arrays.items()],
    }
    found, rejects = read(save(tmp_path / "x.pkl", content, protocol))
    assert rejects == {}
    assert list(found) == sorted(arrays)
    for number, (name, array) in enumerate(arrays.items()):
        recording = found[name]
        assert np.array_equal(in_place(recording, len(array)), array.swapaxes(0, 1).astype("f8"))
        assert (recording.label, recording.performance, recording.camera) == (3, name, None)
        assert recording.split == (["train", "val"][number % 2], "all")
        assert recording.flaws == ()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_pickles_of_old_numpy_and_with_numpy_numbers_are_read(tmp_path, protocol):
    content = [
        annotation("a", label=np.int64(7), total_frames=np.int32(4)),
        annotation("b", keypoint_score=np.ones(3)),
    ]
    content[0] |= {
        "img_shape": (1080, 1920),
        "name": np.str_("x"),
        "valid": np.bool_(True),
        "nothing": None,
    }
    data = pickle.dumps({"annotations": content, "split": {}}, protocol)
    assert b"numpy._core." in data
    for module in (b"multiarray", b"numeric"):
        new, old = b"numpy._core." + module, b"numpy.core." + module
        for mark in (b"\x8c", b"X"):  # a short text and a text, with their lengths
            size = 1 if mark == b"\x8c" else 4
            data = data.replace(
                mark + len(new).to_bytes(size, "little") + new,
                mark + len(old).to_bytes(size, "little") + old,
            )
        data = data.replace(b"c" + new + b"\n", b"c" + old + b"\n")
    assert b"numpy._core." not in data
    found, rejects = read(save(tmp_path / "x.pkl", data))
    assert rejects == {}
    assert (found["a"].label, found["b"].label) == (7, 3)
    assert all(
        np.array_equal(in_place(recording, 1)[:, 0], keypoint()[0]) for recording in found.values()
    )


def test_names_of_ntu_say_who_and_where(tmp_path):
    names = [
        "S001C002P003R001A004",
        "S001C003P003R001A004",
        "S001C003P003R001A005",
        "S01C003P003R001A005",
        "S001C001P003R001A005",
    ]
    content = [annotation(name) for name in names]
    content[4]["label"] = 4
    found, rejects = read(save(tmp_path / "x.pkl", content))
    assert rejects == {names[2]: "label is 3, its name says 4"}
    recording = found[names[0]]
    assert (recording.setup, recording.camera, recording.subject, recording.replication) == (
        1,
        2,
        3,
        1,
    )
    (raw,) = ntu.parse(names[0] + ".skeleton", skeleton_text(people(1)), 25)
    assert recording.performance == raw.performance == found[names[1]].performance
    assert (found[names[3]].camera, found[names[3]].performance) == (None, names[3])


def test_classes_that_a_file_numbers_anew_are_as_it_says(tmp_path, capsys):
    """Labels 0 to 2 for actions 24, 27 and 44, as in a file of a few classes."""
    actions = {"A024": 0, "A027": 1, "A044": 2}
    content = []
    for camera in (1, 2):
        for action, label in actions.items():
            content.append(annotation(f"S001C00{camera}P003R001{action}", label=label))
    source = save(tmp_path / "x.pkl", content)
    found, rejects = read(source)
    assert rejects == {}
    assert {name[16:]: one.label for name, one in found.items()} == actions
    # The cameras of a performance are paired as in NTU's own files.
    (raw,) = ntu.parse("S001C001P003R001A024.skeleton", skeleton_text(people(1)), 25)
    assert found["S001C001P003R001A024"].performance == raw.performance
    assert Pyskl().listing([source]).notes == (
        "classes are numbered by the file, not by the names of its clips: A024 is class 0, "
        "A027 is class 1, A044 is class 2; data.classes must name them in that order, or be null",
    )
    ingest_here(ingest_request("pyskl", source, tmp_path / "store"))
    assert "A024 is class 0, A027 is class 1" in capsys.readouterr().out
    # One clip that contradicts the others, and those of its action that the name contradicts too.
    content[0]["label"] = 23
    found, rejects = read(save(tmp_path / "y.pkl", content))
    assert rejects == {"S001C002P003R001A024": "label is 0, its name says 23"}
    # A file that follows its names needs no word.
    assert Pyskl().listing([save(tmp_path / "z.pkl", content[:1])]).notes == ()


def test_two_files_are_two_splits(tmp_path):
    """As mmaction2 writes them: lists of annotations, of NTU's names and labels."""
    folder = tmp_path / "xsub"
    folder.mkdir()
    train = [annotation(f"S001C001P00{p}R001A004") for p in (1, 2)]
    val = [annotation("S001C001P003R001A004"), annotation("S001C001P001R001A004", keypoint(7))]
    sources = [save(folder / "train.pkl", train), save(folder / "val.pkl", val)]
    (folder / "notes.txt").write_text("")
    for named in ([str(folder)], sources, sources[::-1]):
        listing = Pyskl().listing(named)
        # The second of a name is known by its file, and set aside when the store is planned.
        assert [member.path for member in listing.members] == [
            "S001C001P001R001A004",
            "S001C001P001R001A004 (val.pkl: annotations[1])",
            "S001C001P002R001A004",
            "S001C001P003R001A004",
        ]
        with Pyskl().opened(named, V) as parse:
            recordings = [parse(member)[0] for member in listing.members]
        assert [one.split for one in recordings] == [("train",), ("val",), ("train",), ("val",)]
        assert [one.subject for one in recordings] == [1, 1, 2, 3]
        assert [one.frames for one in recordings] == [4, 7, 4, 4]
    # A single list is no split, and lists in the files are their own splits.
    assert read(sources[0])[0]["S001C001P001R001A004"].split == ()
    content = {"split": {"a": ["S001C001P003R001A004"]}, "annotations": val[:1]}
    found, _ = read_all(Pyskl(), [sources[0], save(folder / "own.pkl", content)], V)
    assert {one.split for one in found.values()} == {("train",), ("a",)}
    # Which belong together must be clear.
    (tmp_path / "xview").mkdir()
    other = save(tmp_path / "xview" / "train.pkl", train)
    for unclear in ([str(folder)], [str(tmp_path)], [sources[0], other]):
        with pytest.raises(UserError, match=r"holds several \.pkl files: .*; name the one, or"):
            Pyskl().listing(unclear)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_names_and_labels_as_numpy_and_pandas_have_them(tmp_path, protocol):
    names = np.array(["walk 1", "S001C001P003R001A004", "\u8d70"])
    content = {
        "split": {"train": names[:2], "val": [names[2]], "none": names[:0]},
        "annotations": [
            annotation(names[0], label=np.float64(3.0)),
            annotation(names[1], label=3.0),
            annotation(names[2], keypoint()[0], label=np.int8(3), total_frames=4),
        ],
    }
    found, rejects = read(save(tmp_path / "x.pkl", content, protocol))
    assert rejects == {}
    assert {name: one.split for name, one in found.items()} == {
        "walk 1": ("train",),
        "S001C001P003R001A004": ("train",),
        "\u8d70": ("val",),
    }
    assert {one.label for one in found.values()} == {3}
    assert all(type(name) is str for name in found)
    for one in found.values():
        assert np.array_equal(in_place(one, 1)[:, 0], keypoint()[0])


def test_a_fourth_number_is_a_confidence_and_is_dropped(tmp_path):
    array = np.concatenate([keypoint(), np.ones((1, 4, V, 1), "f2")], axis=3)
    array[0, 1, 5, 3], array[0, 2, 7, 3], array[0, 3, 7, 3] = 0, 0.25, 1.02
    expected = array[0, :, :, :3].copy()
    expected[1, 5] = 0
    found, rejects = read(save(tmp_path / "x.pkl", [annotation("a", array)]))
    assert rejects == {}
    assert np.array_equal(in_place(found["a"], 1)[:, 0], expected)


def test_holes_and_absent_persons(tmp_path):
    array = keypoint(5, 2, kind="f4")
    array[0, 1], array[:, 2], array[1, 3], array[1, 4, 7] = 0, 0, 0, np.nan
    found, rejects = read(save(tmp_path / "x.pkl", [annotation("a", array)]))
    recording = found["a"]
    expected = np.where(np.isnan(array).any(-1, keepdims=True), 0, array).swapaxes(0, 1)
    assert rejects == {}
    assert np.array_equal(in_place(recording, 2), expected)
    assert np.diff(recording.offsets).tolist() == [2, 2, 0, 1, 2]
    assert recording.flaws == ("1 of 5 frames have joints that are not numbers, taken as not seen",)


BAD = {
    "flat": (annotation("flat", keypoint()[..., :2]), "read them with data=pyskl_2d"),
    "pixels": (
        annotation("pixels", np.abs(keypoint()) % 1 * [900, 900, 1]),
        "2-D key points with a confidence: read them with data=pyskl_2d",
    ),
    "fourth": (
        annotation("fourth", np.concatenate([keypoint(), keypoint()[..., :1] + 9], axis=3)),
        "the fourth number of a joint is no confidence from 0 to 1",
    ),
    "five": (
        annotation("five", np.concatenate([keypoint(), keypoint()], axis=3)[..., :5]),
        "keypoint has shape [1, 4, 25, 5]",
    ),
    "joints": (annotation("joints", keypoint()[:, :, :17]), "keypoint has shape [1, 4, 17, 3]"),
    "row": (annotation("row", keypoint()[0, 0], total_frames=4), "keypoint has shape [25, 3]"),
    "frames": (annotation("frames", total_frames=5), "total_frames is not 4, the number of frames"),
    "no frames": (annotation("no frames", total_frames=None), "total_frames is not 4"),
    "empty": (annotation("empty", keypoint(0)), "no frames"),
    "zeros": (annotation("zeros", keypoint() * 0), "no body in any frame"),
    "nan": (annotation("nan", keypoint() * np.nan), "no body in any frame"),
    "far": (annotation("far", keypoint(kind="f4") * 1e7), "not metres"),
    "complex": (
        annotation("complex", keypoint(kind="c8")),
        "keypoint is an array of 'c8', not of numbers",
    ),
    "texts": (
        annotation("texts", keypoint().astype("U4")),
        "keypoint is an array of 'U4', not of numbers",
    ),
    "list": (annotation("list", keypoint=[[1.0]], total_frames=1), "no keypoint array"),
    "raw": (
        {"frame_dir": "raw", "label": 1, "raw_file": "x", "total_frames": 3},
        "no keypoint array",
    ),
    "minus": (annotation("minus", label=-1), "label is not a whole number from 0"),
    "big": (annotation("big", label=2**31), "label is not a whole number from 0"),
    "true": (annotation("true", label=True), "label is not a whole number from 0"),
    "half": (annotation("half", label=1.5), "label is not a whole number from 0"),
    "text": (annotation("text", label="3"), "label is not a whole number from 0"),
    "annotations[23]": (annotation(7), "an annotation without a frame_dir that can be printed"),
    "annotations[24]": (annotation(""), "an annotation without a frame_dir that can be printed"),
    "annotations[25]": (
        annotation("n" * 300),
        "an annotation without a frame_dir that can be printed",
    ),
    "annotations[26]": (
        annotation("\x1b[31mred"),
        "an annotation without a frame_dir that can be printed",
    ),
    "annotations[27]": (None, "an annotation without a frame_dir that can be printed"),
    "annotations[28]": ([1], "an annotation without a frame_dir that can be printed"),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_annotations_that_cannot_be_used_are_rejected_by_name(tmp_path, protocol):
    assert not np.isfinite(keypoint(kind="f4") * np.nan).any()
    content = [
        annotation("good"),
        annotation("good", label=4),
        *(entry for entry, _ in BAD.values()),
    ]
    found, rejects = read(save(tmp_path / "x.pkl", content, protocol))
    # Of two annotations of one name `ingest` keeps the first.
    assert list(found) == ["good"]
    members = [
        member for member in Pyskl().listing([str(tmp_path)]).members if member.name == "good"
    ]
    assert [member.path for member in members] == ["good", "good (annotations[1])"]
    assert rejects.keys() == BAD.keys()
    for name, (_, reason) in BAD.items():
        assert reason in rejects[name], name


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"annotations": []}, "holds no list of annotations"),
        ({"split": {}}, "holds no list of annotations"),
        ({"annotations": {"a": 1}}, "holds no list of annotations"),
        ([], "holds no list of annotations"),
        ("text", "holds no list of annotations"),
        (keypoint(), "holds no list of annotations"),
        ({"annotations": [annotation("a")], "split": ["a"]}, "'split' is not lists of names"),
        (
            {"annotations": [annotation("a")], "split": {"x": "abc"}},
            "'split' is not lists of names",
        ),
        (
            {"annotations": [annotation("a")], "split": {"x": ["a", 1]}},
            "'split' is not lists of names",
        ),
        (
            {"annotations": [annotation("a")], "split": {1: ["a"]}},
            "a mapping whose keys are not texts",
        ),
        ({"annotations": [{"frame_dir": "a", 0.5: 1}]}, "a mapping whose keys are not texts"),
        (b"", r"not a whole pickle \(truncated"),
        (b"\x80\x04.", "not a whole pickle"),
        (b"PK\x03\x04" + bytes(100), "refused|not a whole pickle"),
        (b"{'annotations': []}", "refused|not a whole pickle"),
    ],
)
def test_a_file_that_is_no_annotations_is_one_clear_line(tmp_path, content, message):
    with pytest.raises(UserError, match=rf"x\.pkl: .*({message})") as error:
        read(save(tmp_path / "x.pkl", content))
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


# What must not run. `marker` is a file that each of these makes where it is unpickled by anything
# else.


class Reduced:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def touch(marker):
    return Reduced(os.system, f"touch {marker}")


def object_array(value, shape=(1,)):
    array = np.empty(shape, object)
    array[...] = value
    return array


def stack_global(module, name, *arguments):
    """module.name(*arguments), its name put together from the memo."""
    texts = [
        b"\x8c" + bytes([len(text)]) + text.encode() + b"\x94"
        for text in (module, name, *arguments)
    ]
    return (
        b"\x80\x04"
        + b"".join(texts)
        + b"h\x00h\x01\x93("
        + b"".join(b"h" + bytes([2 + number]) for number in range(len(arguments)))
        + b"tR."
    )


def shell(marker):
    return f"touch {marker}".encode()


ATTACKS = {
    "system": (touch, r"asks for posix\.system"),
    "system, protocol 0": (lambda marker: pickle.dumps(touch(marker), 0), "posix.system"),
    "system, protocol 2": (lambda marker: pickle.dumps(touch(marker), 2), "posix.system"),
    "eval": (
        lambda marker: Reduced(eval, f"open({str(marker)!r}, 'w')"),
        r"(__builtin__|builtins)\.eval",
    ),
    "exec": (lambda marker: Reduced(exec, f"open({str(marker)!r}, 'w')"), r"builtins\.exec"),
    "getattr": (
        lambda marker: Reduced(getattr, Reduced(__import__, "os"), "system"),
        r"builtins\.(__import__|getattr)",
    ),
    "open": (lambda marker: Reduced(open, str(marker), "w"), r"(io|_io)\.open"),
    "in an annotation": (lambda marker: [annotation("a", label=touch(marker))], r"posix\.system"),
    "as a key": (
        lambda marker: {"annotations": [annotation("a")], touch(marker): 1},
        r"posix\.system",
    ),
    "in the split": (
        lambda marker: {"annotations": [], "split": {"x": [touch(marker)]}},
        r"posix\.system",
    ),
    "in an array": (
        lambda marker: [annotation("a", object_array(touch(marker), (1, 1)))],
        "array of objects",
    ),
    "array of objects": (
        lambda marker: [annotation("a", object_array(1.0, (1, 4, V, 3)))],
        "array of objects",
    ),
    "structured": (
        lambda marker: [annotation("a", np.zeros((1, 1), [("x", object)]))],
        "array of objects",
    ),
    "numpy.load": (lambda marker: Reduced(np.load, str(marker), None, True), r"numpy.*\.load"),
    "numpy.fromfile": (lambda marker: Reduced(np.fromfile, "/etc/passwd"), r"numpy.*fromfile"),
    "memmap": (lambda marker: Reduced(np.memmap, str(marker), "u1", "w+", 0, 9), r"numpy\S*memmap"),
    "copyreg": (
        lambda marker: Reduced(copyreg._reconstructor, collections.Counter, dict, {}),
        r"copyreg\._reconstr",
    ),
    "partial": (
        lambda marker: Reduced(partial(os.system, f"touch {marker}")),
        r"functools\.partial",
    ),
    "class": (lambda marker: collections.OrderedDict(a=1), r"collections\.OrderedDict"),
    "import": (lambda marker: Reduced(builtins.__import__, "antigravity"), r"builtins\.__import__"),
    "inst": (lambda marker: b"(S'" + shell(marker) + b"'\nios\nsystem\n.", "opcode STRING"),
    "inst, text": (
        lambda marker: b"(X" + struct.pack("<I", 4) + b"true" + b"ios\nsystem\n.",
        "opcode INST",
    ),
    "obj": (
        lambda marker: b"\x80\x02(cos\nsystem\nX" + struct.pack("<I", 4) + b"trueo.",
        r"os\.system",
    ),
    "obj, admitted": (lambda marker: b"\x80\x02(cnumpy\nndarray\no.", "opcode OBJ"),
    "newobj": (lambda marker: b"\x80\x02cnumpy\nndarray\n)\x81.", "opcode NEWOBJ"),
    "stack_global": (
        lambda marker: stack_global("os", "system", f"touch {marker}"),
        r"asks for os\.system",
    ),
    "dotted name": (
        lambda marker: stack_global("numpy", "ndarray.__class__"),
        r"numpy\.ndarray\.__class__",
    ),
    "dotted module": (
        lambda marker: stack_global("numpy.ndarray", "__class__"),
        r"numpy\.ndarray\.__class__",
    ),
    "sibling": (
        lambda marker: stack_global("numpy.core.multiarray", "fromfile", "/etc/passwd"),
        "multiarray.fromfile",
    ),
    "builtins of numpy": (
        lambda marker: b"cnumpy.core.numeric\n__builtins__\n.",
        r"numeric\.__builtins__",
    ),
    "this module": (
        lambda marker: stack_global("pipeline.ingest.decode.pickles", "load", "x"),
        r"pickles\.load",
    ),
    "persistent id": (lambda marker: b"Pos.system\n.", "opcode PERSID"),
    "persistent id, binary": (
        lambda marker: b"\x80\x02X" + struct.pack("<I", 1) + b"xQ.",
        "opcode BINPERSID",
    ),
    "extension": (lambda marker: b"\x80\x02\x82\xf0.", "opcode EXT1"),
    "extension 2": (lambda marker: b"\x80\x02\x83\xf0\x00.", "opcode EXT2"),
    "extension 4": (lambda marker: b"\x80\x02\x84\xf0\x00\x00\x00.", "opcode EXT4"),
    "buffer from outside": (lambda marker: b"\x80\x05\x97.", "opcode NEXT_BUFFER"),
    "state of a function": (
        lambda marker: b"\x80\x02cnumpy\ndtype\n}X\x01\x00\x00\x00a]sb.",
        "sets the state",
    ),
    "state of a list": (lambda marker: b"\x80\x02]}b.", "sets the state"),
    "codec": (
        lambda marker: stack_global("_codecs", "encode", "x", "antigravity"),
        "encoding 'antigravity'",
    ),
    "decode": (lambda marker: stack_global("_codecs", "decode", "x", "zip"), r"_codecs\.decode"),
    "bytes": (
        lambda marker: b"\x80\x02cbuiltins\nbytes\nJ\xff\xff\xff\x7f\x85R.",
        "bytes of something",
    ),
    "set": (lambda marker: {"annotations": {1, 2}}, "opcode EMPTY_SET"),
    "frozenset": (lambda marker: frozenset([1]), "opcode FROZENSET"),
    "name that is none": (lambda marker: b"c\x1b[31mred\x00\n\xe2\x80\xae\n.", r"asks for \\x1b"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_pickle_that_would_run_something_is_refused(tmp_path, attack):
    content, message = ATTACKS[attack]
    marker = tmp_path / "ran"
    before = set(vars(builtins))
    source = save(tmp_path / "x.pkl", content(marker))
    copyreg._extension_registry[("os", "system")] = 0xF0
    copyreg._inverted_registry[0xF0] = ("os", "system")
    copyreg._extension_cache[0xF0] = os.system
    try:
        with pytest.raises(
            UserError, match=rf"x\.pkl: refused, nothing in it was run: it .*{message}"
        ) as error:
            Pyskl().listing([source])
    finally:
        copyreg.remove_extension("os", "system", 0xF0)
    assert not marker.exists()
    assert set(vars(builtins)) == before
    assert str(error.value).isprintable() and len(str(error.value)) < 400


def test_the_attacks_are_attacks(tmp_path):
    for number, name in enumerate(
        ["system", "eval", "in an annotation", "in an array", "stack_global", "partial", "inst"]
    ):
        marker = tmp_path / str(number)
        content = ATTACKS[name][0](marker)
        pickle.loads(content if isinstance(content, bytes) else pickle.dumps(content))
        assert marker.exists(), name


def short(count, width=4):
    return count.to_bytes(width, "little")


def laughs(depth, end=b""):
    """A nest of pairs of pairs: 2 ** depth of them, in a few bytes each."""
    return (
        b"\x80\x04)" + b"".join(b"\x94h" + bytes([level]) + b"\x86" for level in range(depth)) + end
    )


HOGS = {
    "bytes": b"\x80\x04B" + short(2**32 - 1) + b"x.",
    "long bytes": b"\x80\x04\x8e" + short(2**62, 8) + b"x.",
    "byte array": b"\x80\x05\x96" + short(2**63 - 1, 8) + b"x.",
    "text": b"\x80\x04X" + short(2**32 - 1) + b"x.",
    "long text": b"\x80\x04\x8d" + short(2**64 - 1, 8) + b"x.",
    "frame": b"\x80\x04\x95" + short(2**62, 8) + b"}.",
    "number": b"\x80\x04\x8b" + short(2**31 - 1) + b"x.",
    "place in the memo": b"\x80\x04]r" + short(2**32 - 1) + b".",
    "empty place in the memo": b"\x80\x04j" + short(2**32 - 1) + b".",
    "laughs": laughs(200, b"."),
    "laughs as a key": b"\x80\x04}" + laughs(200)[2:] + b"Ns.",
    "laughs as annotations": laughs(200, b"\x94]h\xc8a."),
    "laughs as an annotation": b"\x80\x04]}X\x09\x00\x00\x00frame_dir" + laughs(60)[2:] + b"sa.",
    "laughs as a state": b"\x80\x04cnumpy\ndtype\nX\x02\x00\x00\x00f8\x85R"
    + laughs(60)[2:]
    + b"b.",
    "a list in itself": b"\x80\x04]q\x00h\x00a.",
    "nested lists": b"\x80\x04" + b"]" * 300_000 + b"a" * 299_999 + b".",
    "marks": b"\x80\x04" + b"(" * 300_000 + b".",
    "line": b"\x80\x04c" + b"x" * 300_000,
    "arrays": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
    b"J\xff\xff\xff\x7f\x85C\x01b\x87R.",
}


@pytest.mark.parametrize("hog", HOGS)
def test_a_pickle_that_claims_or_repeats_much_costs_little(tmp_path, hog):
    source = save(tmp_path / "x.pkl", HOGS[hog])
    tracemalloc.start()
    started = time.perf_counter()
    try:
        found, _ = read(source)
        assert found == {}
    except UserError as error:
        assert "\n" not in str(error)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 100 << 20
    assert time.perf_counter() - started < 20


def test_keys_that_all_have_one_hash_take_no_time(tmp_path):
    numbers = [number * sys.hash_info.modulus for number in range(1, 20_001)]
    assert {hash(number) for number in numbers} == {0}
    keys = b"".join(b"\x8a\x0a" + number.to_bytes(10, "little") + b"N" for number in numbers)
    source = save(tmp_path / "x.pkl", b"\x80\x02}(" + keys + b"u.")
    started = time.perf_counter()
    with pytest.raises(UserError, match="a mapping whose keys are not texts"):
        read(source)
    assert time.perf_counter() - started < 2


def test_splits_that_share_a_list_do_not_multiply_it(tmp_path):
    names = ["a"] * 20_000
    content = {
        "annotations": [annotation("a")],
        "split": {f"split{n}": names for n in range(20_000)},
    }
    source = save(tmp_path / "x.pkl", content)
    assert os.path.getsize(source) < 1 << 20
    started = time.perf_counter()
    with pytest.raises(UserError, match="'split' is not lists of names"):
        read(source)
    assert time.perf_counter() - started < 10


def test_the_memory_of_a_pickle_that_repeats_is_some_hundred_bytes_a_byte(tmp_path):
    call = b"h\x00h\x01R"  # another copy of the same bytes
    data = (
        b"\x80\x04c_codecs\nencode\nq\x00X"
        + short(250)
        + b"x" * 250
        + b"X\x06\x00\x00\x00latin1\x86q\x01"
    )
    source = save(tmp_path / "x.pkl", data + call * 100_000 + b".")
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="holds no list"):
            read(source)
        assert tracemalloc.get_traced_memory()[1] < 100 * len(data + call * 100_000)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_listing_leaves_the_arrays_where_they_are(tmp_path, protocol):
    content = {
        "annotations": [annotation(f"clip{n}", keypoint(1000, 2, seed=n)) for n in range(100)],
        "split": {},
    }
    source = save(tmp_path / "x.pkl", content, protocol)
    size = os.path.getsize(source)
    assert size > 25 << 20
    tracemalloc.start()
    try:
        reader = Pyskl()
        members = reader.listing([source]).members
        with reader.opened([source], V) as parse:
            (recording,) = parse(members[7])
        assert tracemalloc.get_traced_memory()[1] < 12 << 20
    finally:
        tracemalloc.stop()
    assert np.array_equal(
        in_place(recording, 2),
        content["annotations"][int(members[7].name[4:])]["keypoint"].swapaxes(0, 1),
    )


SMALL = {
    protocol: pickle.dumps(
        {
            "split": {"train": ["a"], "val": ["b"]},
            "annotations": [
                annotation("a", keypoint(1)[:, :, :2], label=np.int64(1)),
                annotation("b", np.asfortranarray(keypoint(2, 2)[:, :, :2])),
            ],
        },
        protocol,
    )
    for protocol in PROTOCOLS
}


def survive(folder, data):
    """Nothing but clips, named rejects or one error: whatever the bytes."""
    reader, source = Pyskl(), save(folder / "x.pkl", data)
    try:
        members = reader.listing([source]).members
    except UserError as error:
        assert "\n" not in str(error)
        return None
    clips = 0
    with reader.opened([source], 2) as parse:
        for member in members:
            try:
                (recording,) = parse(member)
            except RejectedRecording as reason:
                assert "\n" not in str(reason)
                continue
            clips += 1
            assert np.isfinite(recording.bodies).all() and recording.bodies.shape[1:] == (2, 3)
            assert len(recording.bodies) == recording.offsets[-1]
    return clips


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_pickle_cut_anywhere_is_an_error(protocol):
    data = SMALL[protocol]
    with pa.BufferReader(data) as file:
        assert set(safe.load("x", file)) == {"split", "annotations"}
    for length in range(len(data)):
        with (
            pytest.raises(UserError, match="x: not a whole pickle"),
            pa.BufferReader(data[:length]) as file,
        ):
            safe.load("x", file)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def test_the_undamaged_one_holds_two_clips(folder):
    assert [survive(folder, SMALL[protocol]) for protocol in PROTOCOLS] == [2, 2, 2, 2]


@given(
    st.sampled_from(PROTOCOLS),
    st.lists(
        st.tuples(st.integers(0, 5000), st.integers(0, 6), st.binary(max_size=6)),
        min_size=1,
        max_size=4,
    ),
)
@examples(400)
def test_any_damage_gives_clips_rejects_or_one_error(folder, protocol, changes):
    data = SMALL[protocol]
    for at, removed, junk in changes:
        at %= len(data)
        data = data[:at] + junk + data[at + removed :]
    survive(folder, data)


@given(
    st.lists(
        st.sampled_from(
            sorted({bytes([b]) for b in b"".join(safe.OPCODES)} | {b"\x00", b"\x01", b"a\n"})
        )
    )
)
@examples(300)
def test_any_program_of_what_is_admitted_ends(folder, program):
    survive(folder, b"\x80\x04" + b"".join(program) + b".")


def test_another_file_in_the_same_place_is_read_anew(tmp_path):
    source = save(tmp_path / "x.pkl", [annotation("a", label=1)])
    assert read(source)[0]["a"].label == 1
    save(tmp_path / "x.pkl", [annotation("a", label=2)])
    os.utime(source, ns=(1, 1))
    assert read(source)[0]["a"].label == 2


def test_what_a_file_says_of_its_clips_tells_it_from_another(tmp_path):
    """A store of the one is not reused for the other: the names and sizes of all clips are the
    same."""

    def listing(label, split):
        content = {
            "annotations": [annotation("a", label=label), annotation("b")],
            "split": {split: ["a"]},
        }
        return Pyskl().listing([save(tmp_path / f"{label}{split}.pkl", content)])

    found = [listing(*case) for case in ((1, "train"), (2, "train"), (1, "val"))]
    assert all(other.members == found[0].members for other in found)
    assert len({other.facts for other in found}) == 3
    assert (
        Pyskl().listing([save(tmp_path / "same.pkl", (tmp_path / "1train.pkl").read_bytes())]).facts
        == found[0].facts
    )


def test_the_file_itself_or_a_folder_that_holds_it_is_a_source(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / ".hidden.pkl").write_bytes(b"")
    source = save(tmp_path / "sub" / "x.pkl", [annotation("a")])
    assert list(read(source)[0]) == list(read(str(tmp_path))[0]) == ["a"]
    assert Pyskl().listing([str(tmp_path)]).ignored == 2
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(source, "x.pkl")
    cases = {
        (str(tmp_path / "gone"),): "gone: recordings not found",
        (str(tmp_path / "x.zip"),): r"x\.zip: holds no \.pkl file; unpack it first",
        (str(tmp_path / "notes.txt"),): r"notes\.txt: holds no \.pkl file",
        (
            source,
            str(tmp_path),
        ): r"holds several \.pkl files: x\.pkl, x\.pkl; name the one, or .*\(data\.raw=",
    }
    for sources, message in cases.items():
        with pytest.raises(UserError, match=message):
            Pyskl().listing(sources)


def test_its_protocols_are_those_of_ntu(tmp_path):
    """Ingested as configured: the file's lists and the clips' names say the same."""
    config = load_config(["data=pyskl_ntu60", "data.raw=x"])
    names = [
        f"S{1 + n % 17:03}C{1 + n % 3:03}P{1 + n % 40:03}R001A{1 + n % 60:03}" for n in range(120)
    ]
    train = set(config.data.protocols["xsub"].train["subject"])
    lists = {
        "xsub_train": [name for name in names if int(name[9:12]) in train],
        "xsub_val": [name for name in names if int(name[9:12]) not in train],
        "xview_train": [name for name in names if "C001" not in name],
        "xview_val": [name for name in names if "C001" in name],
    }
    annotations = [
        annotation(name, keypoint(2, seed=n), label=n % 60) for n, name in enumerate(names)
    ]
    source = save(tmp_path / "ntu60_3danno.pkl", {"split": lists, "annotations": annotations}, 2)
    reader = reader_for(config.data.reader, config.data.classes)
    assert pickle.loads(pickle.dumps(reader)) == reader == READERS["pyskl"]()
    data = config.data
    job = ingest_job(
        [source],
        tmp_path / "store",
        reader,
        persons=data.persons,
        preparation=data.preparation,
        classes=60,
    )
    report = ingest_shard(job, 0, reader.listing([source]).members)
    assert (report.rejects, report.flaws, report.shard["rows"]) == ([], [], 120)
    table = pq.read_table(tmp_path / "store" / "shard-00000.parquet")
    columns = {name: table[name].to_numpy() for name in ("subject", "camera")}
    columns[SPLIT] = np.fromiter(
        (tuple(row) for row in table[SPLIT].to_pylist()), object, len(table)
    )
    found = counts(
        columns, {name: sides.model_dump() for name, sides in config.data.protocols.items()}
    )
    assert (
        found["xsub_lists"]
        == found["xsub"]
        == {"train": len(lists["xsub_train"]), "test": len(lists["xsub_val"])}
    )
    assert found["xview_lists"] == found["xview"]
    row = {key: values[0] for key, values in table.to_pydict().items()}
    original = annotations[names.index(row["clip_id"])]["keypoint"]
    clip = np.frombuffer(row["joints"], "<f4").reshape(-1, 2, V, 3)
    assert np.array_equal(clip[:, 0], original[0].astype("f4")) and not clip[:, 1].any()


def test_what_is_not_used_of_a_file_does_not_matter(tmp_path):
    content = {"split": {}, "annotations": [annotation("a")], "notes": ["x" * 1000, io.SEEK_SET]}
    assert list(read(save(tmp_path / "x.pkl", content))[0]) == ["a"]
