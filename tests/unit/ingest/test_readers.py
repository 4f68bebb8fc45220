import io
import json
import os
import re
import stat
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.core.errors import UserError
from pipeline.ingest import source
from pipeline.ingest.formats import READERS, ntu, nw_ucla
from pipeline.ingest.recording import performance_id
from pipeline.ingest.source import Member, RejectedRecording, opened
from tests.helpers.examples import examples, scaled
from tests.helpers.ingests import read_all as read_members
from tests.helpers.recordings import NAME, people, plain_parse, skeleton_text, ucla_text


def as_frames(recording):
    pairs = list(zip(recording.body_ids.tolist(), recording.bodies.tolist(), strict=True))
    return [pairs[a:b] for a, b in zip(recording.offsets, recording.offsets[1:], strict=False)]


@pytest.mark.parametrize("eol", ["\n", "\r\n"])
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n\r\n  \n"])
def test_ntu_keeps_every_body_of_every_frame(eol, end):
    frames = people(5, 3)
    frames[1], frames[3] = frames[1][:1], []
    data = skeleton_text(frames, eol).rstrip() + end
    (recording,) = ntu.parse(NAME, data, 25)
    assert as_frames(recording) == plain_parse(data)
    assert recording.offsets.tolist() == [0, 3, 4, 7, 7, 10]
    assert recording.clip_id == "S001C002P003R001A004"
    assert (recording.setup, recording.camera, recording.subject, recording.replication) == (
        1,
        2,
        3,
        1,
    )
    assert recording.label == 3


def test_ntu_body_ids_are_exact_beyond_float64():
    ids = [2**53 + 1, 72057594037944738, 72057594037944739, 2**64 - 1]
    frames = [[(body_id, bodies[0][1])] for body_id, bodies in zip(ids, people(4), strict=True)]
    (recording,) = ntu.parse(NAME, skeleton_text(frames), 25)
    assert recording.body_ids.tolist() == ids


def test_ntu_coordinates_are_the_nearest_doubles():
    xyz = np.array([[0.1, -1e-7, 2.2250738585072014e-308], [123.456789012345678, 1e-45, -0.0]])
    xyz = np.concatenate([xyz, np.random.default_rng(0).normal(size=(23, 3))])
    (recording,) = ntu.parse(NAME, skeleton_text([[(1, xyz)]]), 25)
    assert recording.bodies.tobytes() == xyz[None].tobytes()


def test_performances_pair_cameras_only():
    def performance(name):
        return ntu.parse(name + ".skeleton", skeleton_text(people(1)), 25)[0].performance

    same = [performance(f"S001C00{camera}P003R001A004") for camera in (1, 2, 3)]
    assert len(set(same)) == 1
    others = {
        performance(n + "A004")
        for n in ("S002C001P003R001", "S001C001P004R001", "S001C001P003R002")
    }
    assert len(others | {same[0], performance("S001C001P003R001A005")}) == 5
    assert performance_id("ntu-60", same[0]) != performance_id("ntu-120", same[0])
    assert len(performance_id("ntu-60", same[0])) == 16


GOOD = skeleton_text(people(4, 2))


def replaced(old, new, count=1):
    assert old in GOOD
    return GOOD.replace(old, new, count)


def with_coordinate(text):
    lines = GOOD.decode().split("\r\n")
    fields = lines[10].split()
    lines[10] = " ".join([fields[0], text, *fields[2:]])
    return "\r\n".join(lines).encode()


def moved_field():
    """A field taken from one joint's line and put on the next: the count of all fields is right."""
    lines = GOOD.decode().split("\r\n")
    first, second = lines[10].split(), lines[11].split()
    lines[10], lines[11] = " ".join(first[:-1]), " ".join([first[-1], *second])
    return "\r\n".join(lines).encode()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b" \r\n\r\n", "empty file"),
        (b"0\r\n", "no frames"),
        (b"2\r\n0\r\n0\r\n", "no body in any frame"),
        (GOOD[: len(GOOD) // 2], "truncated"),
        (replaced(b"4\r\n", b"999999999\r\n"), "truncated"),
        (replaced(b"4\r\n", b"99999999999999999999\r\n"), "number of frames expected"),
        (replaced(b"4\r\n", b"3\r\n"), "goes on after its 3 frames"),
        (replaced(b"4\r\n2\r\n", b"4\r\n-2\r\n"), "line 2: number of bodies expected"),
        (replaced(b"4\r\n2\r\n", b"4\r\n200000000\r\n"), "number of joints|truncated"),
        (replaced(b"\r\n25\r\n", b"\r\n24\r\n"), "line 4: 24 joints, expected 25"),
        (skeleton_text(people(2, joints=20), joints=20), "20 joints, expected 25"),
        (GOOD + b"1\r\n", "goes on after"),
        (GOOD + b"junk", "goes on after"),
        (with_coordinate("NaN"), "NaN or infinite"),
        (with_coordinate("nan"), "NaN or infinite"),
        (with_coordinate("inf"), "NaN or infinite"),
        (with_coordinate("1e999"), "NaN or infinite"),
        (with_coordinate("abc"), "a coordinate is not a number"),
        (with_coordinate("1_0"), "a coordinate is not a number"),
        (with_coordinate("1,5"), "a coordinate is not a number"),
        (with_coordinate("0.5\x00"), "not plain text"),
        (with_coordinate("1.5e7"), "not metres"),
        (with_coordinate(""), "line 11: 11 fields, expected 12"),
        (moved_field(), "line 11: 11 fields, expected 12"),
        (replaced(b"72057594037930000", b"7.2e16"), "a body id is not a number"),
        (replaced(b"72057594037930000", b"-7"), "a body id is not a number"),
        (replaced(b"72057594037930000", b"184467440737095516160"), "a body id is not a number"),
        (skeleton_text([[(1, np.zeros((25, 3)))]]), "every joint is zero"),
        (GOOD.decode().encode("utf-16-le"), "not plain text: holds zero bytes"),
        (GOOD.decode().encode("utf-16")[:-1], "not plain text"),
        ("\ufeffé".encode("utf-16"), "not plain text"),
        (bytes(500), "not plain text: holds zero bytes; was it copied to its end"),
        (GOOD + bytes(100), "not plain text: holds zero bytes"),
        (GOOD.replace(b".", b","), "a coordinate is not a number .*: decimal commas. write points"),
        (with_coordinate("-1.#IND"), "a coordinate is not a number"),
        (skeleton_text(people(2, joints=32), joints=32), "line 4: 32 joints, expected 25"),
        (b"PK\x03\x04" + bytes(100), "not plain text"),
        (bytes(range(256)) * 20, "not plain text"),
        (b"nframes\n", "line 1: number of frames expected, got 'nframes'"),
    ],
)
def test_a_damaged_skeleton_file_is_rejected_with_its_reason(data, reason):
    with pytest.raises(RejectedRecording, match=reason) as error:
        ntu.parse(NAME, data, 25)
    assert len(str(error.value)) < 200
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + GOOD,
        GOOD.decode().encode("utf-16"),
        b"\xfe\xff" + GOOD.decode().encode("utf-16-be"),
        GOOD.replace(b"\r\n", b"\r"),
        GOOD.replace(b" 0 1 0 1 0 0 -0.25", b" -1.#IND 1 0 1 0 0 -0.25"),
    ],
)
def test_a_skeleton_file_as_other_programs_write_it_is_read(data):
    (expected,) = ntu.parse(NAME, GOOD, 25)
    (found,) = ntu.parse(NAME, data, 25)
    assert np.array_equal(found.bodies, expected.bodies)
    assert np.array_equal(found.offsets, expected.offsets)
    assert np.array_equal(found.body_ids, expected.body_ids)


def test_names_in_capitals_and_in_small_letters_are_read(tmp_path):
    names = {
        "S001C001P001R001A001.SKELETON": "S001C001P001R001A001",
        "s001c001p002r001a001.skeleton": "S001C001P002R001A001",
        "S001C001P003R001A001.Skeleton": "S001C001P003R001A001",
    }
    for name in names:
        (tmp_path / name).write_bytes(GOOD)
    found, rejects = read_members(ntu.Ntu(), [str(tmp_path)], 25)
    assert (list(found), rejects) == (list(names.values()), {})
    # The same recording twice: the first counts, as for any two files of one name.
    (tmp_path / "S001C001P001R001A001.skeleton").write_bytes(GOOD)
    twice = [one.name for one in ntu.Ntu().listing([str(tmp_path)]).members]
    assert twice.count("S001C001P001R001A001.skeleton") == 2
    # What is no name stays as it is, and its reject names the file.
    (tmp_path / "walk.SKELETON").write_bytes(GOOD)
    _, rejects = read_members(ntu.Ntu(), [str(tmp_path)], 25)
    assert list(rejects) == ["walk.SKELETON"]


@pytest.mark.parametrize(
    ("ending", "advice"),
    [(".txt", "rename its .skeleton.txt files"), (".npy", "made by txt2npy.py: use the .skeleton")],
)
def test_files_that_were_made_of_skeleton_files_come_with_advice(tmp_path, ending, advice):
    (tmp_path / f"{NAME}{ending}").write_bytes(GOOD)
    with pytest.raises(UserError, match=rf"no \.skeleton file among its 1 files; .*{advice}"):
        ntu.Ntu().listing([str(tmp_path)])


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_bomb_in_a_zip_is_set_aside_and_unpacked_a_piece_at_a_time(tmp_path, method, monkeypatch):
    bomb, fine = NAME, NAME.replace("A004", "A005")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", method) as archive:
        archive.writestr(bomb, bytes(4 << 20))
        archive.writestr(fine, GOOD)
    reads = []
    unpack = zipfile.ZipExtFile.read

    def counted(stream, size=-1):
        reads.append(size)
        return unpack(stream, size)

    monkeypatch.setattr(zipfile.ZipExtFile, "read", counted)
    monkeypatch.setattr(source, "MAX_BYTES", 1 << 20)
    with opened([str(tmp_path / "bomb.zip")]) as read:
        # Its size in the list is not trusted.
        with pytest.raises(RejectedRecording, match="larger than 1 MiB"):
            read(Member(bomb, bomb, 1))
        assert read(Member(fine, fine, 1)) == GOOD
    # More than is asked for of bzip2 and LZMA would be unpacked, without a limit.
    assert set(reads) == {source.ZIP_PIECE}
    assert sum(reads) < 2 << 20


@pytest.mark.parametrize(
    "name",
    [
        "a.skeleton",
        "S01C002P003R001A004.skeleton",
        "S001C002P003R001A000.skeleton",
        "s001c002p003r001a004.skeleton",
        "S001C002P003R001A004.txt.skeleton",
        "S001C002P003R001A004\n.skeleton",
        "S\u0660\u0660\u0661C002P003R001A004.skeleton",
    ],
)
def test_a_name_that_does_not_follow_the_scheme_is_rejected(name):
    with pytest.raises(RejectedRecording, match="name does not follow"):
        ntu.parse(name, GOOD, 25)


SMALL = skeleton_text(people(2, 1), "\n")


@given(st.integers(0, len(SMALL)))
@examples(150)
def test_ntu_cut_anywhere_is_whole_or_rejected(length):
    agrees_with_the_reference(SMALL[:length])


# Fields that a mutation may put anywhere; the reference decides what is still a recording.
junk = st.sampled_from(
    [
        b"",
        b" ",
        b"\n",
        b"\r\n",
        b"0",
        b"1",
        b"2",
        b"25",
        b"-1",
        b"1e3",
        b"nan",
        b"x",
        b".",
        b"9" * 30,
    ]
)


@given(st.lists(st.tuples(st.integers(0, 700), st.integers(0, 700), junk), min_size=1, max_size=4))
@example([(0, 0, b"2"), (0, 0, b" ")])
@examples(300)
def test_ntu_with_changed_fields_is_what_the_reference_reads_or_rejected(changes):
    fields = SMALL.replace(b"\n", b" \n ").split(b" ")
    for at, other, text in changes:
        at, other = at % len(fields), other % len(fields)
        fields[at], fields[other] = fields[other], text or fields[at]
    agrees_with_the_reference(b" ".join(fields))


def agrees_with_the_reference(data):
    try:
        expected = plain_parse(data)
    except (AssertionError, ValueError, StopIteration, IndexError):
        with pytest.raises(RejectedRecording):
            ntu.parse(NAME, data, 25)
        return
    (recording,) = ntu.parse(NAME, data, 25)
    assert as_frames(recording) == expected


@given(st.binary(max_size=300))
def test_any_bytes_are_rejected(data):
    for reader, name in (("ntu", NAME), ("nw_ucla", "a01_s02_e03_v01.json")):
        with pytest.raises(RejectedRecording):
            READERS[reader]().parse(name, data, 25)


UCLA_NAME = "a01_s02_e03_v01.json"
FRAMES = np.random.default_rng(0).normal(size=(3, 20, 3)).round(5)


def test_nw_ucla_labels_come_from_the_name_and_empty_frames_hold_nobody():
    frames = FRAMES.copy()
    frames[1] = 0
    (recording,) = nw_ucla.parse("a12_s02_e03_v01.json", ucla_text(frames, "a12_s02_e03_v01"), 20)
    assert (recording.label, recording.subject, recording.replication, recording.camera) == (
        9,
        2,
        3,
        1,
    )
    assert recording.setup is None
    assert recording.offsets.tolist() == [0, 1, 1, 2]
    assert recording.bodies.tolist() == frames[[0, 2]].tolist()
    other = nw_ucla.parse("a12_s02_e03_v03.json", ucla_text(frames, "a12_s02_e03_v03"), 20)[0]
    assert other.performance == recording.performance


def ucla_frame(joint):
    """A frame of 19 joints and this one."""
    return f'{{"skeletons": [[{"[1, 2, 3], " * 19}{joint}]]}}'.encode()


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        (UCLA_NAME, b"", "empty file"),
        (UCLA_NAME, ucla_text(FRAMES)[:-10], "not valid JSON"),
        (UCLA_NAME, b"[" * 100_000, "not valid JSON"),
        (UCLA_NAME, b"[1]", "no key 'skeletons'"),
        (UCLA_NAME, b'{"skeleton": []}', "no key 'skeletons'"),
        (UCLA_NAME, b'{"skeletons": []}', "no frames"),
        (UCLA_NAME, b'{"skeletons": 5}', r"not a list of frames, expected \[frames, 20, 3\]"),
        (UCLA_NAME, b'{"skeletons": {"a": 1}}', "not a list of frames"),
        (UCLA_NAME, b'{"skeletons": [5]}', "a frame that is not a list"),
        (UCLA_NAME, b'{"skeletons": [[]]}', "a frame of length 0"),
        (UCLA_NAME, ucla_frame("[1, 2]"), "a joint of length 2"),
        (UCLA_NAME, ucla_frame('"abc"'), "a joint that is not a list"),
        (UCLA_NAME, ucla_frame('["1", "2", "3"]'), "not a number"),
        (UCLA_NAME, ucla_frame("[1, null, 3]"), "not a number"),
        (UCLA_NAME, ucla_frame("[1, true, 3]"), "not a number"),
        (UCLA_NAME, ucla_frame("[1, [2], 3]"), "not a number"),
        (UCLA_NAME, ucla_frame(f"[1, {'9' * 400}, 3]"), "NaN or infinite"),
        (UCLA_NAME, ucla_frame(f"[1, {'9' * 30}, 3]"), "not metres"),
        (UCLA_NAME, ucla_frame(f"[1, {'9' * 5000}, 3]"), "not valid JSON"),
        (UCLA_NAME, ucla_text(FRAMES[:, :19]), r"a frame of length 19, expected \[frames, 20, 3\]"),
        (
            UCLA_NAME,
            b'{"file_name": {"a": 1}, "skeletons": []}',
            "the recording called by a dict, not",
        ),
        (UCLA_NAME, ucla_text(np.where(FRAMES > 2, np.nan, FRAMES)), "NaN"),
        (UCLA_NAME, ucla_text(FRAMES * 1e7), "not metres"),
        (UCLA_NAME, ucla_text(FRAMES * 0), "no body in any frame"),
        (UCLA_NAME, ucla_text(FRAMES, "a01_s02_e03_v02"), "holds the recording 'a01_s02_e03_v02'"),
        ("a07_s02_e03_v01.json", ucla_text(FRAMES, "a07_s02_e03_v01"), "action 7 is not one of"),
        ("labels.json", b"{}", "name does not follow"),
    ],
)
def test_a_damaged_nw_ucla_file_is_rejected_with_its_reason(name, data, reason):
    assert np.isnan(np.where(FRAMES > 2, np.nan, FRAMES)).any()
    with pytest.raises(RejectedRecording, match=reason):
        nw_ucla.parse(name, data, 20)


def test_nw_ucla_of_one_long_text_among_short_ones_asks_for_no_memory():
    # As one array of texts these would be 4 TB.
    data = b'{"skeletons": [' + b'"a", ' * 10**6 + b'"' + b"x" * 10**6 + b'"]}'
    with pytest.raises(RejectedRecording, match="a frame that is not a list"):
        nw_ucla.parse(UCLA_NAME, data, 20)


def plain_ucla(data):
    """Frames of NW-UCLA JSON that hold somebody, checked number by number; any exception says that
    it is none."""
    content = json.loads(data)
    assert content.get("file_name", "a01_s02_e03_v01") == "a01_s02_e03_v01"
    frames = content["skeletons"]
    assert isinstance(frames, list)
    for frame in frames:
        assert isinstance(frame, list) and len(frame) == 20
        for joint in frame:
            assert isinstance(joint, list) and len(joint) == 3
            assert all(type(x) in (int, float) and abs(x) <= 1e6 for x in joint)
    frames = [frame for frame in frames if any(x for joint in frame for x in joint)]
    assert frames
    return frames


def ucla_agrees_with_the_reference(data):
    try:
        expected = plain_ucla(data)
    except Exception:  # Whatever a plain reading stumbles over is no recording.
        with pytest.raises(RejectedRecording) as reason:
            nw_ucla.parse(UCLA_NAME, data, 20)
        assert 0 < len(str(reason.value)) < 300
        return
    (recording,) = nw_ucla.parse(UCLA_NAME, data, 20)
    assert recording.bodies.tolist() == expected


SMALL_UCLA = ucla_text(FRAMES[:2])


@given(st.integers(0, len(SMALL_UCLA)))
@examples(150)
def test_nw_ucla_cut_anywhere_is_whole_or_rejected(length):
    ucla_agrees_with_the_reference(SMALL_UCLA[:length])


ucla_junk = st.sampled_from(
    [b"", b"0", b"-1", b"1e3", b"1e400", b"9" * 400, b"NaN", b"Infinity", b"null", b"true",
     b'"x"', b"[]", b"[[", b"]", b"{}", b"\x00", b"\xff\xfe", b"\r\n", b"01"]
)  # fmt: skip


@given(
    st.lists(
        st.tuples(st.integers(0, 999), st.integers(0, 999), st.none() | ucla_junk),
        min_size=1,
        max_size=4,
    )
)
@examples(400)
def test_nw_ucla_with_changed_tokens_is_what_the_reference_reads_or_rejected(changes):
    tokens = re.split(rb"([\[\],:{}])", SMALL_UCLA)
    for at, other, text in changes:
        at, other = at % len(tokens), other % len(tokens)
        tokens[at], tokens[other] = tokens[other], tokens[at] if text is None else text
    ucla_agrees_with_the_reference(b"".join(tokens))


@given(
    st.lists(
        st.tuples(st.integers(0, len(SMALL_UCLA) - 1), st.integers(0, 255)), min_size=1, max_size=4
    )
)
@examples(400)
def test_nw_ucla_with_changed_bytes_is_what_the_reference_reads_or_rejected(changes):
    data = bytearray(SMALL_UCLA)
    for at, byte in changes:
        data[at] = byte
    ucla_agrees_with_the_reference(bytes(data))


def test_nw_ucla_takes_whole_numbers():
    (recording,) = nw_ucla.parse(UCLA_NAME, ucla_frame("[4, 5.5, -6]"), 20)
    assert recording.bodies.tolist() == [[[1, 2, 3]] * 19 + [[4, 5.5, -6]]]


def zipped(path, members):
    """A zip of (name or ZipInfo, bytes)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return str(path)


def listed(uri, suffix):
    return source.listing([uri], lambda path: path.name.endswith(suffix), f"{suffix} file")


def test_a_zip_and_a_directory_list_the_same_recordings(tmp_path):
    contents = {
        "sub/b.json": b"22",
        "a.json": b"1",
        "note.txt": b"",
        ".hidden.json": b"",
        "__MACOSX/._a.json": b"",
    }
    for name, data in contents.items():
        (tmp_path / "dir" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "dir" / name).write_bytes(data)
    for uri in (
        str(tmp_path / "dir"),
        str(tmp_path / "dir") + "/",
        zipped(tmp_path / "x.zip", contents.items()),
    ):
        found = listed(uri, ".json")
        assert found.members == [Member("a.json", "a.json", 1), Member("b.json", "sub/b.json", 2)]
        assert found.ignored == 3
        with opened([uri]) as read:
            assert [read(member) for member in found.members] == [b"1", b"22"]


def test_names_in_a_zip_are_only_names(tmp_path):
    link = zipfile.ZipInfo("link.json")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    uri = zipped(
        tmp_path / "x.zip",
        [("../../up.json", b"1"), ("/abs/root.json", b"2"), (link, b"/etc/passwd")],
    )
    found = listed(uri, ".json")
    assert [member.name for member in found.members] == ["root.json", "up.json"]
    assert found.ignored == 1
    with opened([uri]) as read:
        assert [read(member) for member in found.members] == [b"2", b"1"]
    assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]


def test_a_member_beyond_the_limit_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "MAX_BYTES", 1 << 20)
    uri = zipped(tmp_path / "x.zip", [("big.json", bytes(1 << 21)), ("ok.json", bytes(1 << 20))])
    big, ok = listed(uri, ".json").members
    with opened([uri]) as read:
        assert len(read(ok)) == 1 << 20
        with pytest.raises(RejectedRecording, match="larger than 1 MiB"):
            read(big)


def test_a_stated_size_is_not_trusted(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "MAX_BYTES", 1 << 20)
    uri = zipped(tmp_path / "x.zip", [("big.json", bytes(1 << 21))])
    (member,) = listed(uri, ".json").members
    with opened([uri]) as read, pytest.raises(RejectedRecording, match="larger than 1 MiB"):
        read(Member(member.name, member.path, 10))


def test_a_damaged_or_missing_member_is_rejected(tmp_path):
    uri = zipped(tmp_path / "x.zip", [("a.json", b"a" * 10_000), ("b.json", b"b")])
    data = bytearray(Path(uri).read_bytes())
    data[40] ^= 0xFF
    Path(uri).write_bytes(data)
    a, b = listed(uri, ".json").members
    with opened([uri]) as read:
        assert read(b) == b"b"
        for member in (a, Member("c.json", "c.json", 1)):
            with pytest.raises(RejectedRecording, match="cannot be read"):
                read(member)
    with opened([str(tmp_path)]) as read, pytest.raises(RejectedRecording, match="cannot be read"):
        read(Member("c.json", "c.json", 1))


def test_an_encrypted_member_is_rejected(tmp_path):
    uri = zipped(tmp_path / "x.zip", [("a.json", b"a")])
    data = bytearray(Path(uri).read_bytes())
    for magic, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(magic) + flags] |= 1
    Path(uri).write_bytes(data)
    (member,) = listed(uri, ".json").members
    with opened([uri]) as read, pytest.raises(RejectedRecording, match="encrypted"):
        read(member)


def test_a_source_without_recordings_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "note.txt").write_text("no zip")
    (tmp_path / "cut.zip").write_bytes(
        Path(zipped(tmp_path / "x.zip", [("a.json", b"1")])).read_bytes()[:-30]
    )
    cases = {
        "gone": "recordings not found",
        "empty": "holds no recordings",
        "note.txt": "neither a directory nor a readable zip",
        "cut.zip": "neither a directory nor a readable zip",
        "x.zip": r"holds no recordings \(no \.skeleton file among its 1 files\)",
    }
    for name, message in cases.items():
        with pytest.raises(UserError, match=f"{name}: {message}"):
            listed(str(tmp_path / name), ".skeleton")


def test_several_sources_are_one(tmp_path):
    first = zipped(tmp_path / "x.zip", [("b.json", b"1"), ("other.txt", b"")])
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "a.json").write_bytes(b"22")
    sources = [first, str(tmp_path / "dir")]
    found = source.listing(sources, lambda path: path.suffix == ".json", "JSON")
    assert found.members == [Member("a.json", "a.json", 2, 1), Member("b.json", "b.json", 1, 0)]
    assert found.ignored == 1
    with opened(sources) as read:
        assert [read(member) for member in found.members] == [b"22", b"1"]
    with pytest.raises(
        UserError, match=r"name its zip files themselves: data\.raw=\[a\.zip,b\.zip\]"
    ):
        listed(str(tmp_path), ".skeleton")


def test_a_name_that_is_not_utf8_is_rejected_by_name(tmp_path):
    (tmp_path / "a.json").write_bytes(b"1")
    with open(os.fsencode(tmp_path) + b"/\xff.json", "wb"):
        pass
    found = listed(str(tmp_path), ".json").members
    assert [member.name for member in found] == ["\\xff.json", "a.json"]
    with opened([str(tmp_path)]) as read:
        assert read(found[1]) == b"1"
        with pytest.raises(RejectedRecording, match=r"cannot be read .*\\xff\.json"):
            read(found[0])


METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
CONTENT = {"d\u00e4/b.json": b"hello world " * 20, "a.json": b"abc" * 30}


def archive_of(method):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in CONTENT.items():
            archive.writestr(name, data)
    return file.getvalue()


def read_all(uri):
    """Content and rejects of a source."""
    found, rejects = {}, []
    members = listed(uri, ".json").members
    with opened([uri]) as read:
        for member in members:
            try:
                found[member.path] = read(member)
            except RejectedRecording as reason:
                assert "\n" not in str(reason)
                rejects.append(str(reason))
    return found, rejects


@pytest.mark.parametrize("method", METHODS)
def test_a_zip_with_changed_bytes_is_read_rejected_or_refused(tmp_path, method):
    uri, good, rng = str(tmp_path / "x.zip"), archive_of(method), np.random.default_rng(method)
    (tmp_path / "x.zip").write_bytes(good)
    assert read_all(uri) == (CONTENT, [])
    outcomes = Counter()
    rounds = scaled(400)
    for _ in range(rounds):
        data = bytearray(good)
        for at in rng.integers(len(data), size=rng.integers(1, 4)):
            data[at] = rng.choice([0, 0x80, 0xFF, rng.integers(256)])
        (tmp_path / "x.zip").write_bytes(data)
        try:
            found, rejects = read_all(uri)
            outcomes.update(found=len(found), rejects=len(rejects))
            # The checksum holds, so what is read is what was written, or all that is claimed of it.
            assert all(
                any(data.startswith(text) for data in CONTENT.values()) for text in found.values()
            )
        except UserError as error:
            assert "\n" not in str(error)
            outcomes["refused"] += 1
    assert min(outcomes["found"], outcomes["rejects"], outcomes["refused"]) > rounds / 16


def replaced_once(method, old, new):
    """An archive of which a local header or a content says something else than the directory."""
    data = archive_of(method)
    assert old in data and len(old) == len(new)
    return data.replace(old, new, 1)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (replaced_once(0, "d\u00e4".encode(), b"d\xff\xff"), "utf-8"),
        (replaced_once(zipfile.ZIP_LZMA, b"]\0\0\x80\0", b"\xff\0\0\x80\0"), "unsupported options"),
    ],
)
def test_a_damaged_member_of_a_zip_is_rejected(tmp_path, data, reason):
    (tmp_path / "x.zip").write_bytes(data)
    found, rejects = read_all(str(tmp_path / "x.zip"))
    assert found == {"a.json": CONTENT["a.json"]}
    assert len(rejects) == 1
    assert re.search(rf"cannot be read \(.*{reason}", rejects[0])


def test_an_entry_of_a_zip_without_a_name_is_no_file(tmp_path):
    uri = zipped(tmp_path / "x.zip", [("zz", b"1"), ("a.json", b"2")])
    data = Path(uri).read_bytes()
    Path(uri).write_bytes(data.replace(b"zz", b"\0z"))
    found = listed(uri, "")
    assert [member.path for member in found.members] == ["a.json"]
    assert found.ignored == 1


def test_a_directory_of_a_zip_that_cannot_be_read_is_one_clear_line(tmp_path):
    uri = zipped(tmp_path / "x.zip", [("\u00e4.json", b"1")])
    data = bytearray(Path(uri).read_bytes())
    data[data.rindex("\u00e4".encode())] = 0xFF
    Path(uri).write_bytes(data)
    for act in (lambda: listed(uri, ".json"), lambda: opened([uri]).__enter__()):
        with pytest.raises(
            UserError, match=r"x\.zip: neither a directory nor a readable zip file \('utf-8'"
        ):
            act()


def test_json_in_another_unicode_encoding_is_read():
    (recording,) = nw_ucla.parse(UCLA_NAME, ucla_text(FRAMES).decode().encode("utf-16"), 20)
    assert recording.bodies.tolist() == FRAMES.tolist()
