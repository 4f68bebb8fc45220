import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from models.choices import ALIGNS, CENTRES
from models.normalise import normalise
from tests.helpers.examples import examples

lengths = st.lists(st.integers(1, 12), min_size=1, max_size=5)
modes = pytest.mark.parametrize(("centre", "align"), [(c, a) for c in CENTRES for a in ALIGNS])


def parts(clips, frames=None):
    frames = clips.frames if frames is None else frames
    return [
        frames[a:b]
        for a, b in zip(clips.offsets[:-1].tolist(), clips.offsets[1:].tolist(), strict=True)
    ]


def here(joint: np.ndarray) -> bool:
    return bool(np.any(joint != 0))


def slow_rotation(clip: np.ndarray, layout, align: str) -> np.ndarray:
    """Column convention. By rotation vectors, where the product uses closed forms."""
    left, right = layout.left_shoulder, layout.right_shoulder
    if align == "first_frame":
        a, b = clip[0, 0, right], clip[0, 0, left]
        if not (here(a) and here(b)):
            return np.eye(3)
        line = (a - b) / np.linalg.norm(a - b)
        axis = np.cross(line, [1.0, 0, 0])
        angle = np.arctan2(np.linalg.norm(axis), line[0])
        return Rotation.from_rotvec(axis / np.linalg.norm(axis) * angle).as_matrix()
    if align == "mean_yaw":
        lines = [p[0, left] - p[0, right] for p in clip if here(p[0, left]) and here(p[0, right])]
        if not lines:
            return np.eye(3)
        mean = np.mean(lines, axis=0)
        return Rotation.from_euler("y", np.arctan2(mean[2], mean[0])).as_matrix()
    return np.eye(3)


def slow_normalise(clip: np.ndarray, layout, centre: str, align: str) -> np.ndarray:
    rotation = slow_rotation(clip, layout, align)
    first = next((p[0, layout.centre] for p in clip if here(p[0, layout.centre])), np.zeros(3))
    out = np.zeros_like(clip)
    for t, frame in enumerate(clip):
        origin = {"none": np.zeros(3), "first": first, "frame": frame[0, layout.centre]}[centre]
        for m, person in enumerate(frame):
            for v, joint in enumerate(person):
                if here(joint):
                    out[t, m, v] = rotation @ (joint - origin)
    return out


@modes
@examples(15)
@given(
    lengths=lengths,
    persons=st.integers(1, 3),
    missing=st.floats(0, 0.6),
    seed=st.integers(0, 2**20),
)
def test_equals_a_loop_over_joints(
    make_clips, kinect_v1, centre, align, lengths, persons, missing, seed
):
    clips = make_clips(lengths, persons, seed=seed)
    random = torch.Generator().manual_seed(seed)
    clips.frames[torch.rand(clips.frames.shape[:3], generator=random) < missing] = 0
    clips.frames[torch.rand(len(clips.frames), generator=random) < missing / 2] = 0  # whole frames
    before = clips.frames.clone()
    result = normalise(clips, kinect_v1, centre, align)
    for got, clip in zip(parts(result), parts(clips), strict=True):
        expected = slow_normalise(clip.double().numpy(), kinect_v1, centre, align)
        np.testing.assert_allclose(got, expected, rtol=0, atol=2e-5)
    assert torch.equal(clips.frames, before)
    gone = (before == 0).all(-1)
    assert (result.frames[gone] == 0).all()
    assert torch.equal(result.offsets, clips.offsets) and torch.equal(result.ids, clips.ids)


@modes
def test_a_clip_ends_up_the_same_alone_and_among_others(make_clips, pick, kinect_v2, centre, align):
    clips = make_clips([5, 1, 9, 3], persons=2, joints=25)
    together = normalise(clips, kinect_v2, centre, align)
    for b, expected in enumerate(parts(together)):
        assert torch.equal(normalise(pick(clips, [b]), kinect_v2, centre, align).frames, expected)


@modes
def test_bones_and_motion_keep_their_lengths(make_clips, kinect_v2, centre, align):
    clips = make_clips([6, 4], persons=2, joints=25)
    result = normalise(clips, kinect_v2, centre, align)
    parents = list(kinect_v2.parents)

    def bones(x):
        return (x - x[:, :, parents]).norm(dim=-1)

    torch.testing.assert_close(bones(result.frames), bones(clips.frames), rtol=1e-5, atol=1e-5)
    between = (result.frames[:, 0] - result.frames[:, 1]).norm(dim=-1)
    torch.testing.assert_close(
        between, (clips.frames[:, 0] - clips.frames[:, 1]).norm(dim=-1), rtol=1e-5, atol=1e-5
    )


def test_what_each_mode_promises(make_clips, kinect_v1):
    clips = make_clips([6, 4, 1], persons=2)
    left, right, centre = kinect_v1.left_shoulder, kinect_v1.right_shoulder, kinect_v1.centre
    agcn = normalise(clips, kinect_v1, "frame", "first_frame")
    assert (agcn.frames[:, 0, centre] == 0).all()
    for clip in parts(agcn):
        line = clip[0, 0, right] - clip[0, 0, left]
        assert line[0] > 0 and line[1:].abs().max() < 1e-5
    yawed = normalise(clips, kinect_v1, "first", "mean_yaw")
    for clip, raw in zip(parts(yawed), parts(clips), strict=True):
        assert (clip[0, 0, centre] == 0).all()
        line = (clip[:, 0, left] - clip[:, 0, right]).mean(0)
        assert line[0] > 0 and line[2].abs() < 1e-5
        torch.testing.assert_close(
            clip[..., 1], raw[..., 1] - raw[0, 0, centre, 1], rtol=0, atol=1e-5
        )


@examples(20)
@given(turn=st.floats(-180, 180), x=st.floats(-3, 3), z=st.floats(-3, 3))
def test_the_prototype_recipe_does_not_see_where_a_clip_stood_or_faced(
    make_clips, kinect_v1, turn, x, z
):
    clips, moved = make_clips([7, 3], persons=2), make_clips([7, 3], persons=2)
    rotation = torch.tensor(
        Rotation.from_euler("y", turn, degrees=True).as_matrix(), dtype=torch.float32
    )
    moved.frames = moved.frames @ rotation + torch.tensor([x, 0.5, z])
    one, two = (normalise(c, kinect_v1, "first", "mean_yaw").frames for c in (clips, moved))
    torch.testing.assert_close(one, two, rtol=0, atol=3e-5)


def test_first_centre_is_the_first_there_is(make_clips, kinect_v1):
    clips = make_clips([4, 3, 2])
    clips.frames[0:2, 0, kinect_v1.centre] = 0
    clips.frames[4:7, 0, kinect_v1.centre] = 0
    first, never, plain = parts(normalise(clips, kinect_v1, "first", "none"))
    raw = parts(clips)
    assert torch.equal(first[:, 0, 0], raw[0][:, 0, 0] - raw[0][2, 0, kinect_v1.centre])
    assert torch.equal(never, raw[1])
    assert torch.equal(plain[:, 0, 0], raw[2][:, 0, 0] - raw[2][0, 0, kinect_v1.centre])


@pytest.mark.parametrize("align", ["first_frame", "mean_yaw"])
@pytest.mark.parametrize(
    "case", ["left missing", "right missing", "person missing", "coincide", "nearly coincide"]
)
def test_shoulders_that_point_nowhere_turn_nothing(make_clips, kinect_v1, align, case):
    clips = make_clips([3, 3], persons=2)
    left, right = kinect_v1.left_shoulder, kinect_v1.right_shoulder
    if case == "person missing":
        clips.frames[:3, 0] = 0
    elif case.endswith("coincide"):
        clips.frames[:3, 0, left] = clips.frames[:3, 0, right] = torch.tensor([0.1, 0.2, 3.0])
        clips.frames[:3, 0, left, 1] += 1e-7 if case == "nearly coincide" else 0
    else:
        clips.frames[:3, 0, left if case == "left missing" else right] = 0
    result = normalise(clips, kinect_v1, "none", align).frames
    assert torch.equal(result[:3], clips.frames[:3])
    assert not torch.allclose(result[3:], clips.frames[3:])


def test_shoulders_above_each_other_have_no_yaw(make_clips, kinect_v1):
    clips = make_clips([3])
    clips.frames[:, 0, kinect_v1.left_shoulder] = torch.tensor([0.1, 1.2, 3.0])
    clips.frames[:, 0, kinect_v1.right_shoulder] = torch.tensor([0.1, 1.0, 3.0])
    assert torch.equal(normalise(clips, kinect_v1, "none", "mean_yaw").frames, clips.frames)


@pytest.mark.parametrize(
    "aside",
    [
        (0, 0),
        (1e-12, 0),
        (0, -1e-9),
        (1e-7, 1e-7),
        (-1e-5, 1e-6),
        (1e-4, 0),
        (1e-3, 1e-3),
        (0.1, -0.2),
    ],
)
def test_shoulders_the_wrong_way_round_make_a_half_turn(make_clips, kinect_v1, aside):
    clips = make_clips([2])
    clips.frames[:, 0, kinect_v1.left_shoulder] = 0.0
    clips.frames[:, 0, kinect_v1.left_shoulder, 0] = 0.5
    clips.frames[:, 0, kinect_v1.right_shoulder] = torch.tensor([-0.5, *aside])
    result = normalise(clips, kinect_v1, "none", "first_frame").frames
    line = result[0, 0, kinect_v1.right_shoulder] - result[0, 0, kinect_v1.left_shoulder]
    assert line[0] > 0.99 and line[1:].abs().max() < 1e-5
    gram = torch.einsum("mvi,mwi->vw", clips.frames[0], clips.frames[0])
    torch.testing.assert_close(
        torch.einsum("mvi,mwi->vw", result[0], result[0]), gram, rtol=0, atol=1e-4
    )
    if aside == (0, 0):
        assert torch.equal(result, clips.frames * torch.tensor([-1.0, 1.0, -1.0]))


def test_settings_that_do_not_exist_are_refused(make_clips, kinect_v1, kinect_v2):
    clips = make_clips([2])
    with pytest.raises(ValueError, match="centre must be one of none, first, frame, got mean"):
        normalise(clips, kinect_v1, "mean", "none")
    with pytest.raises(
        ValueError, match="align must be one of none, first_frame, mean_yaw, got frame"
    ):
        normalise(clips, kinect_v1, "none", "frame")
    with pytest.raises(ValueError, match="clips have 20 joints, skeleton kinect_v2 has 25"):
        normalise(clips, kinect_v2, "none", "none")
