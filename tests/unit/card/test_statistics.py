"""The statistics of a clip are those that plain loops give."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.skeleton import SkeletonLayout
from pipeline.card.statistics import statistics
from pipeline.store.copies import groups_of_copies
from tests.helpers.planted import joint, planted, together


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
        for k, (v, parent) in enumerate(layout.bones):
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
    assert [group.tolist() for group in groups_of_copies(found)] == [[0, 2]]
    assert groups_of_copies(found[:2]) == []


def test_postures_are_unknown_where_the_layout_does_not_name_the_joints(layout):
    other = replace(layout, joints=tuple(f"j{n}" for n in range(layout.num_joints)))
    found = together(planted(layout), other)
    assert np.isnan(found["upright"]).all() and np.isnan(found["toes"]).all()
