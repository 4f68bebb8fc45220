import csv
import re
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.compose import load
from pipeline.core.errors import UserError
from pipeline.ingest.formats import READERS, reader_for
from pipeline.ingest.recording import Rejected
from pipeline.ingest.source import RejectedRecording
from pipeline.store.clip_store import ClipStore
from tests.helpers.examples import examples
from tests.helpers.ingests import ingest_here, ingest_request

CLIPS = READERS["pku_mmd"](end="included", untrimmed=False)
EXCLUDED = READERS["pku_mmd"](end="excluded", untrimmed=False)
WHOLE = READERS["pku_mmd"](end="included", untrimmed=True)


def video(frames=12, persons=1, seed=0):
    """Coordinates [T, 2, 25, 3] with the digits of the files."""
    coordinates = np.random.default_rng(seed).normal(size=(frames, 2, 25, 3)).round(6)
    coordinates[:, persons:] = 0
    return coordinates


def skeleton_text(coordinates, eol="\n"):
    lines = (" " + " ".join(f"{x:.6f}" for x in frame.ravel()) for frame in np.asarray(coordinates))
    return "".join(line + eol for line in lines).encode()


def label_text(*intervals, eol="\n"):
    return "".join(",".join(map(str, (*interval, 2))) + eol for interval in intervals).encode()


def split_text(train, test):
    text = f"Training videos: \n{', '.join(train)}, \nValidataion videos: \n{', '.join(test)}, \n"
    return text.encode()


def write(folder, files):
    """Files by path; of a bare video name, its skeletons and labels."""
    for path, data in files.items():
        if isinstance(data, tuple):
            skeletons, labels = data
            pair = {
                f"PKU_Skeleton_Renew/{path}.txt": skeletons,
                f"Train_Label_PKU_final/{path}.txt": labels,
            }
            write(folder, pair)
        else:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
    return str(folder)


def outcomes(reader, *sources):
    """What becomes of every video: its recordings and rejects, or the reason why it has none."""
    found = {}
    with reader.opened(sources, 25) as parse:
        for member in reader.listing(sources).members:
            try:
                found[member.name.removesuffix(".txt")] = parse(member)
            except RejectedRecording as reason:
                found[member.name.removesuffix(".txt")] = str(reason)
    return found


def outcome(reader, folder, skeletons, labels, name="0002-L"):
    return outcomes(reader, write(folder, {name: (skeletons, labels)}))[name]


def reasons(found):
    return {entry.name: entry.reason for entry in found if isinstance(entry, Rejected)}


def as_frames(recording):
    pairs = list(zip(recording.body_ids.tolist(), recording.bodies.tolist(), strict=True))
    return [pairs[a:b] for a, b in zip(recording.offsets, recording.offsets[1:], strict=False)]


def plain_frames(data):
    """The lines that end, as lists of numbers: the reference. Any exception says that they are no
    skeletons."""
    assert data.isascii() and b"\0" not in data
    lines = data.split(b"\n")[:-1]
    while not lines[-1].strip():
        lines.pop()
    frames = []
    for line in lines:
        assert all(byte < 128 and (byte >= 32 or byte in b"\t\r\v\f") for byte in line)
        assert b"_" not in line
        frames.append([float(field) for field in line.split()])
        assert len(frames[-1]) == 150
    return frames


def plain_clips(skeletons, labels, end="included", name="0002-L"):
    """Clips by name as (label, frames of (slot, joints)), and how many intervals are none: the
    reference."""
    frames, clips, bad, seen = plain_frames(skeletons), {}, 0, set()
    assert labels.isascii() and b"\0" not in labels
    for line in labels.split(b"\n"):
        fields = [field.strip() for field in line.split(b",")]
        if fields == [b""]:
            continue
        if len(fields) == 5 and not fields[4]:
            fields.pop()
        if len(fields) != 4 or not all(field.isdigit() and len(field) <= 9 for field in fields):
            bad += 1
            continue
        label, first, last = map(int, fields[:3])
        again, seen = (label, first, last) in seen, seen | {(label, first, last)}
        chosen = []
        for number, frame in enumerate(frames, 1):
            if first <= number < last + (end == "included"):
                bodies = [(slot, frame[75 * slot : 75 * slot + 75]) for slot in (0, 1)]
                there = [any(x != 0 for x in body) for _, body in bodies]
                bodies = (
                    bodies if there[1] else bodies[: there[0]]
                )  # a first one that is away keeps its place
                chosen.append(
                    [(slot, [body[j : j + 3] for j in range(0, 75, 3)]) for slot, body in bodies]
                )
        values = [x for frame in chosen for _, body in frame for joint in body for x in joint]
        beyond = (last if end == "included" else last - 1) > len(frames)
        if (
            again
            or not 1 <= label <= 51
            or beyond
            or not values
            or not all(abs(x) <= 1e6 for x in values)
        ):
            bad += 1
        else:
            clips[f"{name}_{first:05}_{last:05}_A{label:02}"] = (label - 1, chosen)
    assert seen
    return clips, bad


def agrees_with_the_reference(reader, folder, skeletons, labels):
    found = outcome(reader, folder, skeletons, labels)
    try:
        clips, bad = plain_clips(skeletons, labels, reader.end)
    except (AssertionError, ValueError, IndexError):
        assert isinstance(found, str)
        return
    assert not isinstance(found, str), found
    recordings = [entry for entry in found if not isinstance(entry, Rejected)]
    assert {clip.clip_id: (clip.label, as_frames(clip)) for clip in recordings} == clips
    assert len(found) - len(recordings) == bad


# Somebody leaves and comes back, slot 1 is there without slot 0, and nobody is there at all.
CROWD = video(20, 2)
CROWD[3:6, 1] = CROWD[8:10, 0] = CROWD[12:15] = 0
ACTIONS = ((5, 1, 4), (9, 4, 9), (5, 3, 7), (51, 8, 16), (1, 17, 20), (2, 20, 20))


@pytest.mark.parametrize("reader", [CLIPS, EXCLUDED])
@pytest.mark.parametrize("eol", ["\n", "\r\n"])
def test_clips_are_what_the_reference_reads(tmp_path, reader, eol):
    skeletons, labels = skeleton_text(CROWD, eol), label_text(*ACTIONS, eol=eol)
    agrees_with_the_reference(reader, tmp_path, skeletons, labels)
    assert len(plain_clips(skeletons, labels, reader.end)[0]) == (6 if reader is CLIPS else 5)


def test_labels_count_frames_from_1_and_their_last_frame_is_included_or_not(tmp_path):
    coordinates = video(12)
    for reader, frames in ((CLIPS, coordinates[2:6]), (EXCLUDED, coordinates[2:5])):
        (clip,) = outcome(reader, tmp_path, skeleton_text(coordinates), label_text((7, 3, 6)))
        assert (clip.clip_id, clip.label, clip.flaws) == ("0002-L_00003_00006_A07", 6, ())
        assert clip.bodies.tolist() == frames[:, 0].tolist()
        assert clip.offsets.tolist() == list(range(len(frames) + 1))


def test_an_interval_that_begins_at_frame_0_begins_at_1_and_says_so(tmp_path):
    coordinates = video(12)
    (clip,) = outcome(CLIPS, tmp_path, skeleton_text(coordinates), label_text((7, 0, 6)))
    assert clip.bodies.tolist() == coordinates[:6, 0].tolist()
    assert clip.flaws == ("begins at frame 0, read as 1",)


def test_gaps_are_no_clips_and_overlaps_are_two(tmp_path):
    coordinates = video(12)
    first, second = outcome(
        CLIPS, tmp_path, skeleton_text(coordinates), label_text((7, 3, 6), (8, 5, 10))
    )
    assert first.bodies[2:].tolist() == second.bodies[:2].tolist() == coordinates[4:6, 0].tolist()
    assert (first.frames, second.frames) == (4, 6)


def test_a_body_of_zeros_is_not_there_but_keeps_its_slot_before_another(tmp_path):
    coordinates = video(5, 2)
    coordinates[0, 1] = coordinates[2, 0] = coordinates[3] = 0
    coordinates[1, 0, 1:] = 0  # one joint is enough
    (clip,) = outcome(CLIPS, tmp_path, skeleton_text(coordinates), label_text((1, 1, 5)))
    assert clip.body_ids.tolist() == [0, 0, 1, 0, 1, 0, 1]
    assert clip.body_ids.dtype == np.uint64
    assert clip.offsets.tolist() == [0, 1, 3, 5, 5, 7]


@pytest.mark.parametrize(
    ("interval", "name", "reason"),
    [
        ("52,2,4,2", "0002-L_00002_00004_A52", "label 52 is not one of 1 to 51"),
        ("0,2,4,2", "0002-L_00002_00004_A00", "label 0 is not one of"),
        ("6,9,4,2", "0002-L_00009_00004_A06", "ends before it begins"),
        ("6,0,0,2", "0002-L_00000_00000_A06", "ends before it begins"),
        ("6,2,13,2", "0002-L_00002_00013_A06", "ends after its video, which has 12 frames"),
        ("6,13,14,2", "0002-L_00013_00014_A06", "ends after its video"),
        ("6,2,999999999,2", "0002-L_00002_999999999_A06", "ends after its video"),
        ("6,8,9,2", "0002-L_00008_00009_A06", "no body in any frame"),
        ("6,10,11,2", "0002-L_00010_00011_A06", "NaN or infinite"),
        ("5,1,3,1", "Train_Label_PKU_final/0002-L.txt, line 3", "the same as line 1"),
        (
            "6,2,4",
            "Train_Label_PKU_final/0002-L.txt, line 3",
            "not label,first,last,confidence: '6,2,4'",
        ),
        ("6,2,4,", "Train_Label_PKU_final/0002-L.txt, line 3", "not label,first,last,confidence"),
        (
            "6,2,4,high",
            "Train_Label_PKU_final/0002-L.txt, line 3",
            "not label,first,last,confidence",
        ),
        (
            "6,2,4,2,2",
            "Train_Label_PKU_final/0002-L.txt, line 3",
            "not label,first,last,confidence",
        ),
        ("6,-2,4,2", "Train_Label_PKU_final/0002-L.txt, line 3", "not label,first,last,confidence"),
        (
            "6,2.0,4,2",
            "Train_Label_PKU_final/0002-L.txt, line 3",
            "not label,first,last,confidence",
        ),
        ("6 2 4 2", "Train_Label_PKU_final/0002-L.txt, line 3", "not label,first,last,confidence"),
        (
            "6,2," + "9" * 5000 + ",2",
            "Train_Label_PKU_final/0002-L.txt, line 3",
            "not label,first,last,confidence",
        ),
    ],
)
def test_a_bad_interval_is_named_and_the_others_go_on(tmp_path, interval, name, reason):
    coordinates = video(12)
    coordinates[7:9], coordinates[10, 1, 3] = 0, np.nan
    labels = label_text((5, 1, 3), (5, 4, 6)) + interval.encode() + b"\n" + label_text((5, 12, 12))
    found = outcome(CLIPS, tmp_path, skeleton_text(coordinates), labels)
    (entry,) = reasons(found).items()
    assert entry[0] == name
    assert reason in entry[1]
    assert len(entry[1]) < 100
    clips = [clip.clip_id for clip in found if not isinstance(clip, Rejected)]
    assert clips == ["0002-L_00001_00003_A05", "0002-L_00004_00006_A05", "0002-L_00012_00012_A05"]


GOOD, LABELS = skeleton_text(video(6, 2)), label_text((4, 1, 3), (9, 2, 6))


def test_blanks_in_a_label_file_do_not_matter(tmp_path):
    labels = b"\n 4 , 1,3 ,\t2,\r\n\n9,2,6,2"
    agrees_with_the_reference(CLIPS, tmp_path, GOOD, labels)
    assert len(plain_clips(GOOD, labels)[0]) == 2


def with_field(text):
    lines = GOOD.split(b"\n")
    lines[2] = b" ".join([*lines[2].split()[:-1], text])
    return b"\n".join(lines)


@pytest.mark.parametrize(
    ("skeletons", "labels", "reason"),
    [
        (b"", LABELS, "empty file"),
        (b" \n\n", LABELS, "empty file"),
        (GOOD[:500], LABELS, "cut off in line 1"),
        (with_field(b""), LABELS, "line 3: 149 fields, expected 150"),
        (with_field(b"1 2"), LABELS, "line 3: 151 fields, expected 150"),
        (GOOD.replace(b"\n", b"\n\n", 1), LABELS, "line 2: 0 fields, expected 150"),
        (GOOD.replace(b"\n", b" "), LABELS, "cut off in line 1"),
        (with_field(b"x"), LABELS, "a coordinate is not a number"),
        (with_field(b"1,5"), LABELS, "a coordinate is not a number"),
        (with_field(b"1_0"), LABELS, "a coordinate is not a number"),
        (with_field("\u0661".encode()), LABELS, "not plain text"),
        (with_field(b"1\x00"), LABELS, "not plain text"),
        (GOOD.decode().encode("utf-16-le"), LABELS, "not plain text: holds zero bytes"),
        (b"PK\x03\x04" + bytes(100) + b"\n", LABELS, "not plain text"),
        (GOOD, b"", "label file Train_Label_PKU_final/0002-L.txt: no interval"),
        (GOOD, b"\n \n", "label file Train_Label_PKU_final/0002-L.txt: no interval"),
        (
            GOOD,
            b"label,start,end,confidence\n",
            "label file Train_Label_PKU_final/0002-L.txt: no interval",
        ),
        (
            GOOD,
            b"\xef\xbb\xbf\xef\xbb\xbf" + LABELS,
            "label file Train_Label_PKU_final/0002-L.txt: not plain text",
        ),
        (
            GOOD,
            LABELS.decode().encode("utf-16-le"),
            "label file Train_Label_PKU_final/0002-L.txt: not plain text: holds zero bytes",
        ),
    ],
)
def test_a_damaged_video_is_rejected_with_its_reason(tmp_path, skeletons, labels, reason):
    for reader in (CLIPS, WHOLE):
        found = outcome(reader, tmp_path, skeletons, labels)
        assert isinstance(found, str)
        assert reason in found
        assert len(found) < 200


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: data.decode().encode("utf-16"),
        lambda data: data.replace(b"\n", b"\r"),
    ],
)
def test_text_as_other_programs_write_it_is_read(tmp_path, spoil):
    expected = [repr(one) for one in outcome(CLIPS, tmp_path, GOOD, LABELS)]
    found = [repr(one) for one in outcome(CLIPS, tmp_path, spoil(GOOD), spoil(LABELS))]
    assert found == expected


def test_a_line_that_does_not_end_is_no_frame(tmp_path):
    for cut in (1, 3, 800):
        found = outcome(CLIPS, tmp_path, GOOD[:-cut], LABELS)
        assert [clip.clip_id for clip in found if not isinstance(clip, Rejected)] == [
            "0002-L_00001_00003_A04"
        ]
        assert reasons(found) == {
            "0002-L_00002_00006_A09": "ends after its video, which has 5 frames"
        }


def test_a_video_needs_one_label_file(tmp_path):
    skeletons = {f"skeleton/{name}.txt": GOOD for name in ("0002-L", "0002-M", "0003-R")}
    source = write(
        tmp_path, skeletons | {"label/0002-L.txt": LABELS, "label_old/0002-L.txt": LABELS}
    )
    found = outcomes(CLIPS, write(tmp_path, {"label/0002-M.txt": LABELS}), source)["0002-M"]
    assert "several label files" in found  # the same folder twice
    found = outcomes(CLIPS, source)
    assert len(found["0002-M"]) == 2
    assert found["0003-R"] == "no label file 0003-R.txt"
    assert found["0002-L"] == "several label files: label/0002-L.txt and label_old/0002-L.txt"


def test_skeletons_labels_and_splits_may_lie_in_several_places(tmp_path):
    videos = {name: (GOOD, LABELS) for name in ("0002-L", "0002-M", "0003-R")}
    together = write(
        tmp_path / "together",
        videos | {"Split/cross-subject.txt": split_text(["0003-R"], ["0002-L", "0002-M"])},
    )
    with zipfile.ZipFile(tmp_path / "Skeletons.zip", "w") as archive:
        for name in videos:
            archive.writestr(f"{name}.txt", GOOD)
    # Folders that say nothing in between, the source's own name, and a folder of labels in one of
    # skeletons.
    labels = write(tmp_path / "skeletal" / "LABEL_v2", {f"a/{name}.txt": LABELS for name in videos})
    split = write(
        tmp_path / "x", {"pku_cross_subject_v1.txt": split_text(["0003-R"], ["0002-M", "0002-L"])}
    )
    apart = (str(tmp_path / "Skeletons.zip"), labels, split)
    names = [f"{name}.txt" for name in videos]
    for reader in (CLIPS, WHOLE):
        assert [member.name for member in reader.listing([together]).members] == names
        assert [member.name for member in reader.listing(apart).members] == names
        found = [outcomes(reader, *sources) for sources in ([together], apart)]
        flat = [
            [(r.clip_id, r.split, as_frames(r)) for clips in of.values() for r in clips]
            for of in found
        ]
        assert flat[0] == flat[1]
        assert [clip[1] for clip in flat[0]][-1] == ("cross_subject.train",)


def test_only_files_that_are_none_of_these_are_ignored(tmp_path):
    others = (
        "readme.txt",
        "Actions.xlsx",
        "skeleton/0002-X.txt",
        "skeleton/notes.txt",
        "skeleton_label/0004-L.txt",
    )
    source = write(
        tmp_path / "data",
        {"0002-L": (GOOD, LABELS), "cross_view.txt": b"0002-L", **dict.fromkeys(others, b"")},
    )
    listing = CLIPS.listing([source])
    assert [member.path for member in listing.members] == ["PKU_Skeleton_Renew/0002-L.txt"]
    assert listing.ignored == len(others)


@pytest.mark.parametrize(
    "files", [{}, {"a.csv": b""}, {"0002-L.txt": GOOD}, {"labels/0002-L.txt": LABELS}]
)
def test_without_videos_there_is_nothing_to_read(tmp_path, files):
    (tmp_path / "data").mkdir()
    with pytest.raises(UserError, match=r"holds no recordings \(no skeleton\*/STEM-V.txt file"):
        CLIPS.listing([write(tmp_path / "data", files)])


VIDEOS = ("0001-L", "0001-M", "0002-R", "A01N02-L")


@pytest.mark.parametrize(
    "text",
    [
        split_text(["0001-L", "A01N02-L"], ["0002-R", "0001-M"]),
        split_text(["0001-L", "A01N02-L", "0008-R"], ["0002-R", "0001-M", "0009-L"]),
        b"Training videos: \r\n0001-L, A01N02-L, \r\nValidataion videos: \r\n0002-R, 0001-M, \r\n",
        b"Training videos:\n0001-L, 0009-L, A01N02-L",
        b"Training videos:\n0001-L, A01N02-L, 0009-L\n",
        b"Training videos:\n0001-L.txt, A01N02-L.txt, ",
        b"Training videos:\n0001-L\nA01N02-L\n\nTesting videos:\n0002-R\n0001-M\n",
        b"0001-L.txt\nA01N02-L.txt\n",
        b"Test: 0002-R 0001-M\nTrain: 0001-L A01N02-L",
        b"\xef\xbb\xbfTraining videos\n0001-L,A01N02-L,,\n",
    ],
)
def test_a_split_names_its_training_videos_and_the_rest_is_for_testing(tmp_path, text):
    videos = {name: (GOOD, LABELS) for name in VIDEOS}
    source = write(
        tmp_path,
        videos | {"Split/cross_subject_v2.txt": text, "Split/Cross-View.txt": b"x\n0002-R, \n"},
    )
    for reader in (CLIPS, WHOLE):
        sides = {name: found[0].split for name, found in outcomes(reader, source).items()}
        assert sides == {
            "0001-L": ("cross_subject.train", "cross_view.test"),
            "0001-M": ("cross_subject.test", "cross_view.test"),
            "0002-R": ("cross_subject.test", "cross_view.train"),
            "A01N02-L": ("cross_subject.train", "cross_view.test"),
        }


def sides(folder, text):
    source = write(folder, {name: (GOOD, LABELS) for name in VIDEOS} | {"cross_subject.txt": text})
    return {
        name: found[0].split[0].split(".")[1] for name, found in outcomes(CLIPS, source).items()
    }


@pytest.mark.parametrize(
    "text",
    [
        split_text(["0001-L", "A01N02-L"], ["0002-R", "0001-M"]),
        b"Training videos:\r\n0001-L\r\nA01N02-L\r\nValidation videos:\r\n0002-R\r\n0001-M",
        b"Training videos: 0001-L, A01N02-L",
    ],
)
def test_a_split_cut_anywhere_but_between_two_names_is_whole_or_refused(tmp_path, text):
    whole, refused = sides(tmp_path, text), 0
    for length in range(len(text)):
        try:
            found = sides(tmp_path, text[:length])
        except UserError as error:
            assert re.search(
                r"cross_subject.txt: (names none of|cut off\?|video \S+ .*in neither)", str(error)
            )
            refused += 1
            continue
        if found != whole:  # it looks like a shorter list
            assert re.search(rb"0001-L[\s,]*$", text[:length])
    assert refused > len(text) / 2


@pytest.mark.parametrize(
    ("train", "test", "which"),
    [
        (["0001-L", "A01N02-L"], ["0002-R"], "video 0001-M in"),
        (["0001-L"], [], "video 0001-M and 2 more in"),
        (["0001-L", "A01N02-L", "0002-R"], ["0002-R", "0001-M"], "video 0002-R in"),
    ],
)
def test_a_split_of_two_lists_has_every_video_in_one_of_them(tmp_path, train, test, which):
    with pytest.raises(
        UserError, match=rf"cross_subject.txt: {which} neither of its lists, or in both"
    ):
        sides(tmp_path, split_text(train, test))


@pytest.mark.parametrize(
    "text", [b"", b"0009-L, 0010-M", b"0001-LL, X0001-L", b"Validation:\n0001-L\n", bytes(99)]
)
def test_a_split_without_a_known_training_video_is_refused(tmp_path, text):
    source = write(tmp_path, {"0001-L": (GOOD, LABELS), "cross-subject.txt": text})
    with pytest.raises(
        UserError, match=r"cross-subject.txt: names none of the 1 videos for training"
    ):
        outcomes(CLIPS, source)


def test_two_files_of_one_split_are_refused(tmp_path):
    splits = {"v1/cross_view.txt": b"0001-L", "v2/cross_view_v2.txt": b"0001-L"}
    with pytest.raises(
        UserError, match=r"v1/cross_view.txt and .*v2/cross_view_v2.txt: two files of one split"
    ):
        CLIPS.listing([write(tmp_path, {"0001-L": (GOOD, LABELS)} | splits)])


def test_without_split_files_a_clip_is_in_none(tmp_path):
    assert outcome(CLIPS, tmp_path, GOOD, LABELS)[0].split == ()


def test_cameras_of_a_performance_share_its_identity_and_nothing_else_does(tmp_path):
    skeletons = skeleton_text(video(40))
    source = write(
        tmp_path,
        {
            # The same four actions, seen and delayed by three cameras, one of whose files is not in
            # order.
            "0002-L": (skeletons, label_text((5, 1, 3), (9, 5, 9), (5, 11, 15), (7, 20, 22))),
            "0002-M": (skeletons, label_text((9, 12, 14), (5, 16, 19), (5, 8, 9), (7, 26, 30))),
            "0002-R": (
                skeletons,
                label_text((5, 2, 3), (9, 4, 5), (5, 6, 9), (7, 11, 15), (7, 16, 20)),
            ),
            "0003-L": (skeletons, label_text((5, 1, 3), (9, 5, 9))),
            "A02N11-M": (skeletons, label_text((5, 1, 3))),
        },
    )
    found = {name: {c.clip_id: c for c in clips} for name, clips in outcomes(CLIPS, source).items()}
    views = [
        {c.performance: (c.label, c.clip_id) for c in found[f"0002-{view}"].values()}
        for view in "LMR"
    ]
    shared = set(views[0]) & set(views[1]) & set(views[2])
    assert len(shared) == 3
    for performance in shared:
        assert len({view[performance][0] for view in views}) == 1
    numbers = [sorted(view[p][1] for p in shared) for view in views]
    assert numbers[1] == [
        "0002-M_00008_00009_A05",
        "0002-M_00012_00014_A09",
        "0002-M_00016_00019_A05",
    ]
    second = found["0002-L"]["0002-L_00011_00015_A05"].performance
    assert found["0002-M"]["0002-M_00016_00019_A05"].performance == second
    assert found["0002-R"]["0002-R_00006_00009_A05"].performance == second
    # Action 8 comes once in L and M and twice in R: which of R's is meant cannot be told.
    everything = Counter(c.performance for clips in found.values() for c in clips.values())
    assert sorted(everything.values()) == [1] * 7 + [3] * 3
    assert {name: {c.camera for c in clips.values()} for name, clips in found.items()} == {
        "0002-L": {1},
        "0002-M": {2},
        "0002-R": {3},
        "0003-L": {1},
        "A02N11-M": {2},
    }
    assert found["A02N11-M"]["A02N11-M_00001_00003_A05"].subject == 11
    assert found["0003-L"]["0003-L_00001_00003_A05"].subject is None


def test_a_damaged_view_does_not_part_the_others(tmp_path):
    files = {"0002-L": (GOOD, LABELS), "0002-M": (GOOD, LABELS), "0002-R": (GOOD, b"")}
    found = outcomes(CLIPS, write(tmp_path, files))
    assert [c.performance for c in found["0002-L"]] == [c.performance for c in found["0002-M"]]
    assert "no interval" in found["0002-R"]


def test_an_untrimmed_video_keeps_every_frame_and_its_intervals(tmp_path):
    skeletons, labels = skeleton_text(CROWD), label_text(*ACTIONS)
    (found,) = outcome(WHOLE, tmp_path, skeletons, labels, "A03N07-R")
    assert (found.clip_id, found.performance, found.label, found.camera) == (
        "A03N07-R",
        "A03N07",
        None,
        3,
    )
    assert found.segments == (
        (4, 0, 4),
        (8, 3, 9),
        (4, 2, 7),
        (50, 7, 16),
        (0, 16, 20),
        (1, 19, 20),
    )
    assert found.flaws == ()
    clips = plain_clips(skeletons, label_text((1, 1, 20)))[0]
    assert as_frames(found) == clips["0002-L_00001_00020_A01"][1]
    assert found.frames == 20
    for clip in outcome(CLIPS, tmp_path, skeletons, labels, "A03N07-R"):
        _, start, stop = next(
            s
            for s in found.segments
            if clip.clip_id.endswith(f"{s[1] + 1:05}_{s[2]:05}_A{s[0] + 1:02}")
        )
        assert as_frames(found)[start:stop] == as_frames(clip)


def test_what_is_wrong_with_an_untrimmed_video_stays_with_it(tmp_path):
    labels = label_text((4, 1, 3), (9, 2, 6), (60, 1, 2)) + b"junk\n"
    (found,) = outcome(WHOLE, tmp_path, GOOD[:-1], labels)
    assert found.segments == ((3, 0, 3),)
    assert found.frames == 5
    assert found.flaws == (
        "cut off in line 6",
        "Train_Label_PKU_final/0002-L.txt, line 4: not label,first,last,confidence: 'junk'",
        "0002-L_00002_00006_A09: ends after its video, which has 5 frames",
        "0002-L_00001_00002_A60: label 60 is not one of 1 to 51",
    )
    assert (
        outcome(WHOLE, tmp_path, GOOD, label_text((4, 9, 12)))
        == "none of its intervals can be used"
    )


FUZZED = skeleton_text(video(5, 2, seed=1)), label_text((4, 1, 3), (9, 2, 5), (51, 5, 5))
positions = st.integers(0, 10**6)
blanks = [b"", b" ", b"\n", b"\r\n", b"\n\n", b"\x0b", b","]
numbers = [
    b"0",
    b"1",
    b"5",
    b"6",
    b"52",
    b"-1",
    b"+1",
    b"1e3",
    b"1e4",
    b"1e999",
    b"nan",
    b"-inf",
    b"9" * 30,
    b"9" * 5000,
]
words = [b"x", b".", b"0x10", b"1_0", b"\x00", b"\xff\xfe", b"\xc2\xa0"]
junk = st.sampled_from([*blanks, *numbers, *words])


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzzed")


@given(which=st.integers(0, 1), length=positions)
@examples(150)
def test_files_cut_anywhere_give_whole_clips_or_named_rejects(scratch, which, length):
    files = list(FUZZED)
    files[which] = files[which][: length % (len(files[which]) + 1)]
    agrees_with_the_reference(CLIPS, scratch, *files)


@given(
    which=st.integers(0, 1),
    changes=st.lists(st.tuples(positions, positions, junk), min_size=1, max_size=4),
)
@examples(300)
def test_files_with_changed_fields_give_what_the_reference_reads_or_named_rejects(
    scratch, which, changes
):
    files = list(FUZZED)
    comma = b"," if which else b" "
    fields = files[which].replace(b"\n", comma + b"\n" + comma).split(comma)
    for at, other, text in changes:
        at, other = at % len(fields), other % len(fields)
        fields[at], fields[other] = fields[other], text or fields[at]
    files[which] = comma.join(fields)
    agrees_with_the_reference(CLIPS, scratch, *files)


@given(st.integers(0, 1), positions, st.binary(min_size=1, max_size=20))
@examples(150)
def test_files_with_other_bytes_give_what_the_reference_reads_or_named_rejects(
    scratch, which, at, data
):
    files = list(FUZZED)
    at %= len(files[which])
    files[which] = files[which][:at] + data + files[which][at + len(data) :]
    agrees_with_the_reference(CLIPS, scratch, *files)


@given(st.binary(max_size=300), st.binary(max_size=100))
def test_any_bytes_are_rejected(scratch, skeletons, labels):
    for reader in (CLIPS, WHOLE):
        assert isinstance(outcome(reader, scratch, skeletons, labels), str)


@pytest.mark.parametrize("phase", [1, 2])
def test_the_configured_phases(phase):
    config = load([f"data=pku{phase}"])
    assert reader_for(config.data.reader, config.data.classes) == CLIPS
    assert config.data.dataset == f"pku-mmd-{phase}"
    assert len(set(config.data.classes)) == 51
    assert (config.data.classes[7], config.data.classes[41]) == (
        "drink water",
        "touch back (backache)",
    )


def test_an_ingest_makes_a_store_of_the_clips_with_their_splits(tmp_path):
    rng = np.random.default_rng(0)
    names = [f"{stem}-{view}" for stem in ("0001", "0002", "0003") for view in "LMR"]
    videos = {
        name: (skeleton_text(video(30, 1 + n % 2, seed=n)), label_text(*ACTIONS))
        for n, name in enumerate(names)
    }
    subjects, views = (
        split_text(names[:6], names[6:]),
        split_text(*([n for n in names if (n[-1] == "M") == tested] for tested in (False, True))),
    )
    source = write(
        tmp_path / "pku", videos | {"cross-subject.txt": subjects, "cross-view.txt": views}
    )
    (Path(source) / "PKU_Skeleton_Renew" / "0003-R.txt").write_bytes(rng.bytes(1000))
    (Path(source) / "Train_Label_PKU_final" / "0003-L.txt").write_bytes(
        label_text((5, 1, 4), (5, 9, 31))
    )
    manifest = ingest_here(
        ingest_request("pku1", source, tmp_path / "store", reader=CLIPS, files_per_shard=4)
    )
    assert manifest["recordings"] == 9
    assert manifest["clips"] == 7 * 6 + 1
    assert manifest["ignored_files"] == 0
    assert manifest["protocols"] == {
        "cross_subject": {"train": 36, "test": 7},
        "cross_view": {"train": 4 * 6 + 1, "test": 18},
    }
    with open(tmp_path / "store" / "rejects.csv", newline="") as file:
        rejects = {row["name"]: row["reason"] for row in csv.DictReader(file)}
    assert set(rejects) == {"PKU_Skeleton_Renew/0003-R.txt", "0003-L_00009_00031_A05"}
    store = ClipStore.open(str(tmp_path / "store"))
    index = store.index()
    row = index.clip_id.tolist().index("0002-M_00004_00009_A09")
    coordinates = np.array(plain_frames(videos["0002-M"][0])).reshape(-1, 2, 25, 3)[3:9]
    assert store.clip(row)[:, 0].tolist() == coordinates[:, 0].astype(np.float32).tolist()
    assert (index.label[row], index.camera[row], index.num_persons[row]) == (8, 2, 1)
    # 0003-R is damaged and 0003-L has one clip, which 0003-M has too.
    assert sorted(Counter(index.performance_id).values()) == [1] * 5 + [2] + [3] * 12
