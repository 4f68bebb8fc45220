"""The data card finds what is wrong in a store, names it, and leaves what is right alone."""

import csv
import io
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from models.skeleton import SkeletonLayout
from pipeline.card import figures
from pipeline.card.animation import MOST_BYTES, MOST_FRAMES, gif
from pipeline.card.contents import contents, grouped
from pipeline.card.findings import RULES, copies, find
from pipeline.card.measure import measure
from pipeline.card.page import NAMED, REASONS, page
from pipeline.card.samples import CROWDED_SAMPLES, SAMPLES, choose, clearest
from pipeline.card.stage import inspect
from pipeline.card.statistics import bones, statistics
from pipeline.config.schema import Config, load
from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.encoder.build import recorded_layout
from pipeline.pages.style import png
from pipeline.runs.rundir import RunDir
from pipeline.store.clip_store import (
    FLAWS,
    INTEGERS,
    ClipStore,
    StoreIndex,
    fingerprint,
    layout_record,
    write_manifest,
    write_shard,
)

FPS = 30.0
CLEAN = 60  # clips with nothing wrong

# A person of Kinect v1 who faces the camera (towards -z): x, y, z in metres; the left side has smaller x.
STANDING = {
    "spine_base": (0, 0, 0),
    "spine_mid": (0, 0.3, 0),
    "spine_shoulder": (0, 0.5, 0),
    "head": (0, 0.75, 0),
    "left_shoulder": (-0.18, 0.48, 0),
    "left_elbow": (-0.25, 0.2, 0),
    "left_wrist": (-0.26, -0.04, 0),
    "left_hand": (-0.26, -0.12, 0),
    "left_hip": (-0.1, -0.05, 0),
    "left_knee": (-0.11, -0.45, -0.02),
    "left_ankle": (-0.11, -0.85, 0),
    "left_foot": (-0.12, -0.9, -0.12),
}
STANDING |= {
    f"right{name[4:]}": (-x, y, z)
    for name, (x, y, z) in STANDING.items()
    if name.startswith("left")
}


@pytest.fixture(scope="module")
def layout() -> SkeletonLayout:
    return recorded_layout(load(["data=nw_ucla"]))


def joint(layout: SkeletonLayout, name: str) -> int:
    return layout.joints.index(name)


def person(
    layout: SkeletonLayout, random: np.random.Generator, frames: int, x: float = 0.0
) -> np.ndarray:
    """[T, V, 3]: somebody of some size who turns and walks a little, with a sensor's noise."""
    pose = np.array([STANDING[name] for name in layout.joints]) * random.uniform(0.9, 1.1)
    turn = random.uniform(-0.6, 0.6) + 0.3 * np.sin(np.linspace(0, 3, frames))
    cosine, sine, zero = np.cos(turn), np.sin(turn), np.zeros(frames)
    yaw = np.stack([cosine, zero, sine, zero, zero + 1, zero, -sine, zero, cosine], -1).reshape(
        frames, 3, 3
    )
    place = np.array([x, 0.2, 3]) + np.linspace(0, 0.5, frames)[:, None] * random.uniform(
        -1, 1, (1, 3)
    ) * [1, 0, 1]
    return (
        pose @ yaw.transpose(0, 2, 1)
        + place[:, None]
        + 0.003 * random.normal(size=(frames, len(pose), 3))
    )


def stretch(clip: np.ndarray, layout: SkeletonLayout, name: str, factor: float) -> None:
    """Move one joint, with what hangs on it, along its bone."""
    moved, at = joint(layout, name), joint(layout, name)
    away = (factor - 1) * (clip[:, :, at] - clip[:, :, layout.parents[at]])
    hanging = [number for number in range(layout.num_joints) if moved in path(layout, number)]
    clip[:, :, hanging] += np.where(
        (clip[:, :, hanging] != 0).any(-1, keepdims=True), away[:, :, None], 0
    )


def path(layout: SkeletonLayout, at: int) -> list[int]:
    """From a joint to the root."""
    found = [at]
    while layout.parents[at] != at:
        at = layout.parents[at]
        found.append(at)
    return found


def planted(layout: SkeletonLayout) -> dict[str, np.ndarray]:
    """Clips [T, 2, V, 3] by name: CLEAN ones, every fifth of two persons, and one of each defect."""
    random = np.random.default_rng(0)

    def clip(frames: int, persons: int = 1) -> np.ndarray:
        made = np.zeros((frames, 2, layout.num_joints, 3))
        for number in range(persons):
            made[:, number] = person(layout, random, frames, x=number)
        return made

    clips = {
        f"clean-{n}": clip(int(random.integers(20, 60)), 1 + (n % 5 == 0)) for n in range(CLEAN)
    }
    clips["short"] = clip(1)
    clips["zero-joints"] = clip(30)
    clips["zero-joints"][4:7, 0, joint(layout, "left_hand")] = 0
    clips["empty-frames"] = clip(40)
    clips["empty-frames"][10:20] = 0
    clips["long-forearm"] = clip(30, 2)
    stretch(clips["long-forearm"][:, 1:], layout, "left_wrist", 2.5)
    clips["rubber-thigh"] = clip(40)
    stretch(clips["rubber-thigh"][::3], layout, "right_knee", 3.5)
    clips["headstand"] = clip(30)
    clips["headstand"][..., :2] *= -1  # turned half round in the picture: left and right stay right
    clips["mirror"] = clip(30)
    clips["mirror"][..., 0] *= -1
    clips["mirror"][:, 1] = 0
    clips["jump"] = clip(30)
    clips["jump"][12, 0, joint(layout, "right_hand"), 0] += 0.9
    clips["leap"] = clip(30)
    clips["leap"][20:, 0, :, 2] += 1
    clips["frozen"] = np.repeat(clip(1), 25, axis=0)
    clips["copy-a"] = clip(33)
    clips["copy-b"] = clips["copy-a"].copy()
    return {name: made.astype(np.float32) for name, made in clips.items()}


# What is to be found: clip -> rules and what the texts must say.
PLANTED = {
    "short": {"few_frames": "1 frame"},
    "zero-joints": {"missing_joints": "left hand"},
    "empty-frames": {"missing_frames": "10 of 40 frames"},
    "long-forearm": {"bone_length": "person 2: left wrist-left elbow 0.6"},
    "rubber-thigh": {"bone_varies": "right knee-right hip varies 3.", "jump": "m/s"},
    "headstand": {"upside_down": "-1.00"},
    "mirror": {"swapped": "-0."},
    "jump": {"jump": "right hand 27 m/s at frame 1"},
    "leap": {"jump": "m/s at frame 20; the whole body 30 m/s"},
    "frozen": {"still": "25 frames"},
    "copy-a": {"duplicate": "equal to copy-b"},
    "copy-b": {"duplicate": "equal to copy-a"},
}


def together(clips: dict[str, np.ndarray], layout: SkeletonLayout) -> dict[str, np.ndarray]:
    """Their statistics."""
    offsets = np.cumsum([0, *map(len, clips.values())])
    return statistics(np.concatenate(list(clips.values())), offsets, layout)


def index_of(clips: dict[str, np.ndarray], **columns: np.ndarray) -> StoreIndex:
    """As of a store that holds them and knows nothing else."""
    unknown = {name: np.full(len(clips), -1) for name in INTEGERS}
    split = np.fromiter(((),) * len(clips), object, len(clips))
    frames = np.array([len(clip) for clip in clips.values()])
    persons = np.array([(clip != 0).any((0, 2, 3)).sum() for clip in clips.values()])
    names = np.array(list(clips))
    known = {
        "clip_id": names,
        "performance_id": names,
        "split": split,
        "num_frames": frames,
        "num_persons": persons,
    }
    return StoreIndex(**unknown | known | columns)


# Statistics


def plainly(clip: np.ndarray, layout: SkeletonLayout) -> dict:
    """The statistics of one clip, one number after another."""
    frames, persons, joints, _ = clip.shape
    there = np.array(
        [
            [[any(clip[t, m, v] != 0) for v in range(joints)] for m in range(persons)]
            for t in range(frames)
        ]
    )
    lengths = np.full((3, persons, joints - 1), np.nan)
    for m in range(persons):
        for k, (v, parent) in enumerate(bones(layout)):
            seen = [float(np.linalg.norm(clip[t, m, v] - clip[t, m, parent])) for t in range(frames)
                    if there[t, m, v] and there[t, m, parent]]  # fmt: skip
            if seen:
                lengths[:, m, k] = [np.percentile(seen, q, method="lower") for q in (5, 50, 95)]
    step = (0.0, 0, 0, 0)
    body_step, extent = 0.0, 0.0
    for t in range(1, frames):
        for m in range(persons):
            ways = [
                float(np.linalg.norm(clip[t, m, v] - clip[t - 1, m, v]))
                if there[t, m, v] and there[t - 1, m, v]
                else 0
                for v in range(joints)
            ]
            body_step = max(body_step, float(np.median(ways)))
            if max(ways) > step[0] * (1 + 1e-6):
                step = (max(ways), t, m, int(np.argmax(ways)))
    for m in range(persons):
        for v in range(joints):
            if len(points := clip[there[:, m, v], m, v]):
                extent = max(extent, float(np.linalg.norm(points.max(0) - points.min(0))))
    return {
        "frames": frames,
        "persons": int(there.any((0, 2)).sum()),
        "empty_frames": sum(not there[t].any() for t in range(frames)),
        "bodies": sum(bool(there[t, m].any()) for t in range(frames) for m in range(persons)),
        "missing": [
            sum(
                bool(there[t, m].any() and not there[t, m, v])
                for t in range(frames)
                for m in range(persons)
            )
            for v in range(joints)
        ],
        **dict(zip(("short", "length", "long"), lengths, strict=True)),
        **dict(zip(("step", "step_frame", "step_person", "step_joint"), step, strict=True)),
        "body_step": body_step,
        "extent": extent,
        **{name: postures(clip, there, layout, name) for name in ("upright", "toes")},
    }


def postures(clip: np.ndarray, there: np.ndarray, layout: SkeletonLayout, which: str) -> float:
    def at(*names: str) -> list[int]:
        return [joint(layout, name) for name in names]

    head, ankles, feet = at("head"), at("left_ankle", "right_ankle"), at("left_foot", "right_foot")
    left, right = layout.left_shoulder, layout.right_shoulder
    needed = (
        [*head, *ankles] if which == "upright" else [*ankles, *feet, left, right, layout.centre]
    )
    means = []
    for m in range(clip.shape[1]):
        values = []
        for t in range(len(clip)):
            body = clip[t, m].astype(float)
            if not there[t, m, needed].all():
                continue
            if which == "upright":
                up = body[head[0]] - body[ankles].mean(0)
                values.append(up[1] / np.linalg.norm(up))
            else:
                front = np.cross(
                    (body[left] + body[right]) / 2 - body[layout.centre], body[right] - body[left]
                )
                toes = (body[feet] - body[ankles]).mean(0)
                values.append(toes @ front / np.linalg.norm(toes) / np.linalg.norm(front))
        means += [np.mean(values)] if values else []
    return min(means, default=np.nan)


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(1, 7), min_size=1, max_size=4),
    st.floats(0, 0.6),
)
def test_statistics_are_those_of_each_clip_computed_plainly(layout, seed, lengths, gaps):
    random = np.random.default_rng(seed)
    frames = random.normal(size=(sum(lengths), 2, layout.num_joints, 3)).astype(np.float32)
    frames[random.random(frames.shape[:3]) < gaps] = 0  # joints
    frames[random.random(frames.shape[:2]) < gaps / 2] = 0  # persons
    offsets = np.cumsum([0, *lengths])
    before = frames.copy()
    found = statistics(frames, offsets, layout)
    np.testing.assert_array_equal(frames, before)
    for clip, (start, stop) in enumerate(pairwise(offsets)):
        for name, expected in plainly(frames[start:stop], layout).items():
            np.testing.assert_allclose(
                found[name][clip], expected, rtol=2e-5, atol=2e-6, err_msg=name
            )


def test_equal_coordinates_have_equal_digests_and_others_do_not(layout):
    random = np.random.default_rng(0)
    clip = random.normal(size=(3, 1, layout.num_joints, 3)).astype(np.float32)
    other = clip.copy()
    other[2, 0, 5, 1] = np.nextafter(other[2, 0, 5, 1], 9)
    found = together({"a": clip, "b": other, "c": clip.copy(), "d": clip[:2]}, layout)["digest"]
    assert found[0] == found[2] and len(set(found)) == 3
    assert [group.tolist() for group in copies(found)] == [[0, 2]]
    assert copies(found[:2]) == []


def test_postures_are_unknown_where_the_layout_does_not_name_the_joints(layout):
    other = replace(layout, joints=tuple(f"j{n}" for n in range(layout.num_joints)))
    found = together(planted(layout), other)
    assert np.isnan(found["upright"]).all() and np.isnan(found["toes"]).all()


# Findings


def test_every_defect_is_found_and_named_and_nothing_else(layout):
    clips = planted(layout)
    names = list(clips)
    found = find(together(clips, layout), index_of(clips), layout, FPS)
    assert list(found) == list(RULES)
    told = {name: {} for name in names}
    for kind, findings in found.items():
        for finding in findings:
            assert kind not in told[names[finding.clip]]
            told[names[finding.clip]][kind] = finding.text
    assert {name: set(kinds) for name, kinds in told.items() if kinds} == {
        n: set(kinds) for n, kinds in PLANTED.items()
    }
    for name, kinds in PLANTED.items():
        for kind, text in kinds.items():
            assert text in told[name][kind], (name, kind, told[name][kind])


def test_the_worst_comes_first(layout):
    clips = planted(layout)
    clips["worse"] = clips["jump"].copy()
    clips["worse"][15, 0, 3, 0] += 5
    found = find(together(clips, layout), index_of(clips), layout, FPS)["jump"]
    assert list(clips)[found[0].clip] == "worse" and found[0].score > found[1].score > 20


def test_people_of_different_size_are_no_outliers_and_centimetres_are(layout):
    clips = planted(layout)
    clean = {name: clip for name, clip in clips.items() if name.startswith("clean")}
    clean |= {
        "child": clean["clean-1"] * np.float32(0.72),
        "centimetres": clean["clean-2"] * np.float32(100),
    }
    found = find(together(clean, layout), index_of(clean), layout, FPS)["bone_length"]
    assert [list(clean)[finding.clip] for finding in found] == ["centimetres"]


def test_among_equal_bodies_a_smaller_one_is_no_outlier_until_it_is_much_smaller(layout):
    clean = planted(layout)["clean-1"][:, :1]
    clips = {f"same-{n}": clean + np.float32(n / 10) for n in range(20)}
    clips |= {"three-quarters": clean * np.float32(0.75), "half": clean * np.float32(0.5)}
    found = find(together(clips, layout), index_of(clips), layout, FPS)["bone_length"]
    assert [list(clips)[finding.clip] for finding in found] == ["half"]


def test_a_store_of_one_clip_can_be_looked_at(layout):
    clips = {"only": planted(layout)["clean-0"]}
    assert not any(find(together(clips, layout), index_of(clips), layout, FPS).values())


# Samples, animations, charts


def test_samples_are_of_different_classes_and_two_of_them_crowded(layout):
    clips = planted(layout)
    index = index_of(clips, label=np.arange(len(clips)) % 9)
    chosen = choose(index, seed=1)
    assert len(chosen) == len(set(chosen)) == SAMPLES == len(set(index.label[chosen]))
    assert (index.num_persons[chosen] > 1).sum() >= CROWDED_SAMPLES
    assert (index.num_frames[chosen] >= np.median(index.num_frames)).all()
    np.testing.assert_array_equal(chosen, choose(index, seed=1))
    assert not np.array_equal(chosen, choose(index, seed=2))


def test_the_only_crowded_clips_are_shown_although_they_are_of_one_class(layout):
    clips = {f"{n}": planted(layout)["clean-1"] for n in range(200)}
    persons = np.where(np.isin(np.arange(200), [90, 150]), 2, 1)
    index = index_of(
        clips, label=np.where(persons == 2, 7, np.arange(200) % 7), num_persons=persons
    )
    for seed in range(5):
        chosen = choose(index, seed)
        assert {90, 150} <= set(chosen) and len(set(index.label[chosen])) == SAMPLES - 1


def test_samples_of_few_clips_are_all_of_them(layout):
    clips = dict(list(planted(layout).items())[:3])
    longer = [
        n
        for n, clip in enumerate(clips.values())
        if len(clip) >= np.median([len(c) for c in clips.values()])
    ]
    assert sorted(choose(index_of(clips), seed=0)) == longer


def test_the_clearest_body_is_whole_and_spread_out(layout):
    clip = planted(layout)["clean-1"][:6].copy()
    clip[:3, 0, :, 0] = 3.0  # seen from the side
    clip[5, 0, 3] = 0
    body = clearest([clip, planted(layout)["short"] * 0])
    assert any(np.array_equal(body, clip[t, 0]) for t in (3, 4))


def frames_of(data: bytes) -> list[np.ndarray]:
    image = Image.open(io.BytesIO(data))
    frames = []
    for number in range(image.n_frames):
        image.seek(number)
        frames.append(np.asarray(image.convert("RGB")).astype(int))
    return frames


@pytest.mark.parametrize(("length", "shown"), [(1, 1), (12, 12), (200, MOST_FRAMES)])
def test_animations_have_the_frames_of_the_clip(layout, length, shown):
    clip = person(layout, np.random.default_rng(0), length)[:, None].astype(np.float32)
    data = gif(clip, "walk $x_ <b>", layout, FPS)
    frames = frames_of(data)
    assert len(frames) == shown and len(data) < MOST_BYTES
    assert all((frame != frames[0]).any() for frame in frames[1:])
    duration = Image.open(io.BytesIO(data)).info.get("duration", 0)
    assert abs(duration * shown - 1000 * length / FPS) <= 10 * shown


def test_animations_of_crowds_are_small(layout):
    random = np.random.default_rng(0)
    clip = random.normal(size=(300, 4, layout.num_joints, 3)).astype(np.float32)
    data = gif(clip, "noise", layout, FPS)
    assert len(data) < MOST_BYTES and len(frames_of(data)) > 4


def test_animations_show_left_and_right_where_they_are(layout):
    clip = np.array([STANDING[name] for name in layout.joints], np.float32)[
        None, None
    ] + np.float32(0.01)
    picture = frames_of(gif(clip, "", layout, FPS))[0]
    half = picture[60:, : picture.shape[1] // 2]  # the view from the front, below the words
    blue = np.argwhere(half[..., 2] - half[..., 0] > 90)
    orange = np.argwhere(half[..., 0] - half[..., 2] > 90)
    assert len(blue) > 50 and len(orange) > 50
    assert blue[:, 1].max() < orange[:, 1].min()  # left has smaller x, and x points right
    dark = np.argwhere(half.max(-1) < 90)
    assert dark[:, 0].min() < min(blue[:, 0].min(), orange[:, 0].min())  # the head is on top


def test_a_clip_of_nothing_has_an_animation(layout):
    assert (
        len(
            frames_of(gif(np.zeros((4, 2, layout.num_joints, 3), np.float32), "empty", layout, FPS))
        )
        >= 1
    )


def card_of(
    clips: dict[str, np.ndarray],
    layout: SkeletonLayout,
    classes=(),
    protocols=None,
    flaws=None,
    **columns,
):
    manifest = {
        "layout": layout_record(layout),
        "fps": FPS,
        "axes": "x, y, z",
        "dataset": "planted",
    }
    manifest |= {"fingerprint": "0" * 32, "rejected": columns.pop("rejected", [])}
    store = ClipStore("store", manifest)
    index = index_of(clips, **columns)
    found = together(clips, layout)
    findings = find(found, index, layout, FPS)
    return contents(store, index, found, findings, flaws, layout, classes, protocols or {})


def test_all_of_120_classes_are_named_on_the_chart(layout):
    clips = planted(layout)
    names = [f"action {n}" for n in range(119)] + [
        "a name that is far too long to stand beside a bar"
    ]
    card = card_of(clips, layout, names, label=np.arange(len(clips)))
    figure = figures.classes(card)
    drawn = [tick.get_text() for axes in figure.axes for tick in axes.get_yticklabels()]
    assert drawn[:119] == [f"{n}  {name}" for n, name in enumerate(names[:119])] and drawn[
        119
    ].startswith("119  a name")
    widths = [bar.get_width() for axes in figure.axes for bar in axes.patches]
    assert widths == [1] * len(clips) + [0] * (120 - len(clips))
    height = figure.get_figheight() * 72 / (120 / len(figure.axes))
    assert height > 8 and png(figure).startswith(b"\x89PNG")  # points for a name of 7.5 points


def test_charts_draw_what_the_card_says(layout):
    clips = planted(layout)
    camera = np.arange(len(clips)) % 3 + 1
    card = card_of(clips, layout, label=np.zeros(len(clips), int), camera=camera)
    panels = {
        axes.get_xlabel(): [bar.get_height() for bar in axes.patches]
        for axes in figures.recordings(card).axes
    }
    persons = index_of(clips).num_persons
    assert panels == {
        "camera": np.bincount(camera)[1:].tolist(),
        "persons": [int((persons == 1).sum()), int((persons == 2).sum())],
    }
    bars = figures.lengths(card).axes[0].patches
    assert sum(bar.get_height() for bar in bars) == len(clips)
    frames = np.array([len(clip) for clip in clips.values()])
    low, high = bars[3].get_x(), bars[3].get_x() + bars[3].get_width()
    assert bars[3].get_height() == ((frames > low) & (frames < high)).sum()
    shares = [bar.get_width() for bar in figures.missing(card).axes[0].patches]
    assert (
        np.argmax(shares) == joint(layout, "left_hand") and sum(share > 0 for share in shares) == 1
    )
    dots = [
        line.get_xdata()[0]
        for line in figures.bone_lengths(card).axes[0].get_lines()
        if line.get_marker() == "o"
    ]
    forearm = card["bones"][[one["joint"] for one in card["bones"]].index("left_wrist")]
    assert (
        forearm["metres"] in dots
        and 0.21 < forearm["metres"] < 0.27
        and len(dots) == layout.num_joints - 1
    )


def test_every_joint_is_named_on_the_body(layout):
    body = planted(layout)["clean-0"][0, 0]
    texts = [
        text.get_text().strip() for text in figures.joint_names(body, layout, "title").axes[0].texts
    ]
    assert sorted(texts) == sorted(
        f"{n} {name.replace('_', ' ')}" for n, name in enumerate(layout.joints)
    )


# The card


def test_reasons_are_counted_whatever_their_numbers_and_names():
    rows = [
        ("line 12: 4 fields, expected 12", "b"),
        ("line 7: -1.5e3 fields, expected 12", "a"),
        ("empty file", "c"),
    ]
    rows += [("holds 'x y', not that", "d"), ("holds 'z', not that", "e")]
    assert grouped(rows) == [
        {"reason": "holds ..., not that", "count": 2, "example": "d"},
        {"reason": "line ...: ... fields, expected ...", "count": 2, "example": "a"},
        {"reason": "empty file", "count": 1, "example": "c"},
    ]
    assert grouped([]) == []


def test_copies_on_both_sides_of_a_protocol_are_a_warning(layout):
    clips = planted(layout)
    clips["copy-c"] = clips["clean-3"].copy()
    names = list(clips)
    camera = np.ones(len(clips), int)
    camera[names.index("copy-b")] = 2
    protocols = {
        "view": {"train": {"camera": [1]}, "test": {"camera": [2]}},
        "none": {"train": {}, "test": {"camera": [9]}},
    }
    card = card_of(clips, layout, protocols=protocols, camera=camera)
    assert card["protocols"]["view"] == {"train": len(clips) - 1, "test": 1}
    assert card["copies_across_sides"] == {
        "view": {"train": 1, "test": 1},
        "none": {"train": 0, "test": 0},
    }
    assert card["warnings"] == [
        f"view: exact copies lie on different sides: 1 of {len(clips) - 1} train clips, 1 of 1 test clips",
        "none: no clip on its side test",
    ]


def test_classes_without_clips_are_a_warning_and_a_store_without_labels_is_none(layout):
    clips = planted(layout)
    card = card_of(clips, layout, ["a", "b", "c"], label=np.arange(len(clips)) % 2)
    assert [one["clips"] for one in card["classes"]] == [len(clips) // 2] * 2 + [0]
    assert card["warnings"] == ["1 of 3 classes have no clip"]
    card = card_of(clips, layout, ["a", "b", "c"])
    assert (
        card["classes"] == [{"label": None, "name": "no label", "clips": len(clips)}]
        and not card["warnings"]
    )


@pytest.mark.parametrize(
    ("axis", "warning"), [(1, "y does not seem to point up"), (0, "left and right seem swapped")]
)
def test_a_store_with_wrong_axes_is_a_warning(layout, axis, warning):
    clips = planted(layout)
    assert not card_of(clips, layout)["warnings"]
    for clip in clips.values():
        clip[..., axis] *= -1
    assert [warning in sentence for sentence in card_of(clips, layout)["warnings"]] == [True]


def test_the_page_escapes_everything_that_it_did_not_write(layout):
    evil = "<script>alert('x')</script>&\"$\ud800"
    clips = {f"{evil}{name}": clip for name, clip in planted(layout).items()}
    rejected = [{"name": evil, "reason": f"no {evil}"}]
    card = card_of(
        clips,
        layout,
        [evil],
        {evil: {evil: {}}},
        [{"clip_id": evil, "flaw": evil}],
        rejected=rejected,
    )
    card["store"] |= {"axes": evil, "dataset": evil, "source": evil}
    text = page(evil, card, {"joints": b"\x89PNG"}, {evil: b"GIF89a"}).decode()
    assert "<script" not in text and text.count("&lt;script&gt;") > 20
    assert not re.search(r'(src|href)="(?!data:)|<[^>]*\son\w+=', text)
    without = card | {"flaws": None}
    assert "flaw" not in page("t", without, {}, {}).decode() and "1 flaws" in text


def test_the_page_says_how_many_it_does_not_name(layout):
    clips = {f"equal-{n:02}": planted(layout)["clean-1"] for n in range(30)}
    rejected = [{"name": "x", "reason": f"reason {'z' * n}"} for n in range(27)]
    text = page("t", card_of(clips, layout, rejected=rejected), {}, {}).decode()
    assert f"and {30 - NAMED} more" in text and f"and {27 - REASONS} more" in text
    assert text.count("equal to equal-00 and 28 more") == NAMED - 1


def test_the_page_says_when_postures_could_not_be_measured(layout):
    other = replace(layout, joints=tuple(f"j{n}" for n in range(layout.num_joints)))
    card = card_of(planted(layout), other)
    assert card["posture"] is None and "was not measured" in page("t", card, {}, {}).decode()


# The stage, on a store


class Tracker:
    """Takes what the stage tells MLflow."""

    def __init__(self):
        self.logged, self.datasets = [], []

    def artifacts(self, uris, folder=None):
        self.logged += [(storage.name(uri), folder) for uri in uris]

    def dataset(self, store, context):
        self.datasets.append((store.uri, context))


def write_planted(config: Config) -> None:
    """The planted clips in three shards; cameras 1 to 3 in turn, no subject, one label in three unknown."""
    layout, clips, shards = recorded_layout(config), planted(recorded_layout(config)), []
    metadata = {"fps": FPS, "axes": "x right, y up, z towards us", "dataset": "planted"}
    rows = [
        {
            "clip_id": name,
            "dataset": "planted",
            "performance_id": name,
            "label": None if number % 3 == 2 else number % 3,
            "subject": None,
            "camera": 1 + number % 3,
            "setup": None,
            "replication": None,
            "split": [],
            "segments": None,
            "num_frames": len(clip),
            "num_persons": int((clip != 0).any((0, 2, 3)).sum()),
            "joints": clip,
        }
        for number, (name, clip) in enumerate(clips.items())
    ]
    for number in range(3):
        location = storage.join(config.store, f"shard-{number:05d}.parquet")
        shards.append(write_shard(location, rows[number::3], metadata))
    manifest = {
        "layout": layout_record(layout),
        "persons": 2,
        "clips": len(rows),
        "settings": {},
        "shards": shards,
    }
    rejected = [{"name": "bad.json", "reason": "no frames"}]
    write_manifest(
        config.store,
        manifest | metadata | {"fingerprint": fingerprint({}, shards), "rejected": rejected},
    )


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Config:
    place = tmp_path_factory.mktemp("card")
    config = load(
        ["data=nw_ucla", "data.persons=2", f"data.store={place}/store", f"output={place}/run"]
    )
    write_planted(config)
    return config


def test_the_stage_leaves_a_card_and_says_what_it_found(ray_session, config, capsys):
    run, tracker = RunDir(config), Tracker()
    storage.write_bytes(
        storage.join(config.store, FLAWS), b"clip_id,flaw\nshort,3 of 4 frames hold nobody\n"
    )
    results = inspect(config, run, tracker)
    clips = planted(recorded_layout(config))
    assert results == {
        "card": run.path("card", "card.html"),
        "card_findings": 13,
        "card_flagged_clips": len(PLANTED),
    }
    assert tracker.datasets == [(config.store, "inspection")]
    present = {storage.name(entry.path) for entry in storage.files(run.path("card"))}
    assert sorted(tracker.logged) == sorted((name, "card") for name in present)
    pictures = {"joints", "classes", "recordings", "lengths", "bones", "missing", "worst"}
    assert present == {f"{name}.png" for name in pictures} | {f"sample-{n}.gif" for n in range(1, SAMPLES + 1)} | {
        "card.html", "card.json", "clips.csv"}  # fmt: skip

    card = storage.read_json(run.path("card", "card.json"))
    assert card["clips"] == len(clips) and card["frames"] == sum(map(len, clips.values()))
    assert card["rejects"] == [{"reason": "no frames", "count": 1, "example": "bad.json"}]
    assert (
        card["flaws"][0]["reason"] == "... of ... frames hold nobody"
        and len(card["samples"]) == SAMPLES
    )
    told = {}
    for kind, found in card["findings"].items():
        for one in found["clips"]:
            told.setdefault(one["clip"], {})[kind] = one["what"]
    assert {name: set(kinds) for name, kinds in told.items()} == {
        name: set(kinds) for name, kinds in PLANTED.items()
    }

    rows = list(
        csv.DictReader(io.StringIO(storage.read_bytes(run.path("card", "clips.csv")).decode()))
    )
    assert {row["clip_id"]: int(row["frames"]) for row in rows} == {
        name: len(clip) for name, clip in clips.items()
    }
    by_name = {row["clip_id"]: row for row in rows}
    assert (
        by_name["rubber-thigh"]["findings"] == "bone_varies;jump"
        and by_name["clean-1"]["findings"] == ""
    )
    assert by_name["empty-frames"]["missing_frames"] == "0.25"
    assert float(by_name["zero-joints"]["missing_joints"]) == pytest.approx(3 / (30 * 20), rel=1e-3)
    assert (
        float(by_name["long-forearm"]["bone_score"]) > 6 > float(by_name["clean-1"]["bone_score"])
    )
    assert {row["subject"] for row in rows} == {""} and {row["label"] for row in rows} == {
        "",
        "0",
        "1",
    }

    text = storage.read_bytes(run.path("card", "card.html")).decode()
    assert all(name in text for name in PLANTED) and text.count("data:image/gif") == SAMPLES
    said = capsys.readouterr().out
    assert (
        f"{len(clips)} clips, {len(PLANTED)} to look at" in said
        and "jumps: 3 (" in said
        and "card.html" in said
    )


def test_a_damaged_shard_is_one_line(ray_session, config, tmp_path):
    other = config.model_copy(
        update={"data": config.data.model_copy(update={"store": f"{tmp_path}/store"})}
    )
    write_planted(other)
    place = tmp_path / "store" / "shard-00001.parquet"
    data = place.read_bytes()
    place.write_bytes(
        data[: len(data) // 2] + bytes(len(data) - len(data) // 2)
    )  # of the size that the manifest says
    store = ClipStore.open(other.store)
    with pytest.raises(
        UserError, match=r"^inspect: .*shard-00001.parquet: row group 0 cannot be read"
    ) as caught:
        measure(store, recorded_layout(other), quiet=True)
    assert "\n" not in str(caught.value)
