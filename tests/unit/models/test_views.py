import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.transform import Rotation

from models.clips import ClipBatch
from models.hashing import uniform
from models.views import Views
from tests.helpers.examples import examples

PLAIN = {
    "corrupt_joints": 0,
    "shear": 0.0,
    "corrupt_probability": 0.0,
    "rotation": 0.0,
    "scale": 0.0,
    "mirror": 0.0,
}
WHOLE = {"crop": (1.0, 1.0), "min_frames": 1}


def umurl(layout, **change) -> Views:
    """The published recipe: 64 frames, 15 of 25 joints, shear to 1."""
    recipe = {
        "crop": (0.1, 1.0),
        "min_frames": 64,
        "corrupt_joints": 15,
        "shear": 1.0,
        "corrupt_probability": 0.5,
    }
    return Views(layout, **({"frames": 64} | PLAIN | recipe | change))


def slow_view(clip: np.ndarray, number: np.ndarray, layout, views: Views) -> np.ndarray:
    """One clip, one thing after the other, in float64. clip: [N, M, V, 3]; number: its random
    numbers in order.
    """
    ratio, start, mirror, turn, size, corrupt, erase = number[:7]
    noise, shear, joints = number[7:16].reshape(3, 3), number[16:25].reshape(3, 3), number[25:]
    low, high = views.crop
    span = min(
        max(math.floor(len(clip) * (low + ratio * (high - low))), views.min_frames), len(clip)
    )
    first = math.floor(start * (len(clip) - span + 1))
    part = clip[first : first + span]
    at = (np.arange(views.frames) + 0.5) * span / views.frames - 0.5
    flat = part.reshape(span, -1)
    out = np.stack([np.interp(at, np.arange(span), column) for column in flat.T], axis=1)
    out = out.reshape(views.frames, *clip.shape[1:])
    if mirror < views.mirror:
        for left, right in layout.mirror:
            out[:, :, [left, right]] = out[:, :, [right, left]]
        out[..., 0] *= -1
    # The camera turning one way is the body turning the other: the sign is a convention, towards -z
    # for +x.
    out = (
        out @ Rotation.from_euler("y", (2 * turn - 1) * views.rotation, degrees=True).as_matrix().T
    )
    out *= 1 + (2 * size - 1) * views.scale
    if corrupt < views.corrupt_probability:
        for joint in np.argsort(joints)[: views.corrupt_joints]:
            out[:, :, joint] = 0 if erase < 0.5 else out[:, :, joint] @ (2 * noise - 1)
    else:
        matrix = (2 * shear - 1) * views.shear
        np.fill_diagonal(matrix, 1)
        out = out @ matrix
    return out


half = st.sampled_from([0.0, 0.5, 1.0])


@examples(60)
@given(
    lengths=st.lists(st.integers(1, 90), min_size=1, max_size=5),
    persons=st.integers(1, 3),
    frames=st.integers(1, 40),
    crop=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
    least=st.integers(1, 70),
    joints=st.integers(0, 20),
    shear=st.floats(0, 1.5),
    probabilities=st.tuples(half, half),
    rotation=st.floats(0, 180),
    scale=st.floats(0, 0.9),
    purpose=st.tuples(st.integers(0, 2**40), st.integers(0, 1000), st.integers(0, 5)),
)
def test_views_equal_a_loop(
    make_clips,
    kinect_v1,
    lengths,
    persons,
    frames,
    crop,
    least,
    joints,
    shear,
    probabilities,
    rotation,
    scale,
    purpose,
):
    clips = make_clips(lengths, persons)
    corrupt, mirror = probabilities
    views = Views(
        kinect_v1, frames, tuple(crop), least, joints, shear, corrupt, rotation, scale, mirror
    )
    seed, epoch, draw = purpose
    result = views(clips, seed, epoch, draw)
    assert result.shape == (len(lengths), frames, persons, 20, 3) and result.dtype == torch.float32
    numbers = uniform(seed, epoch, clips.ids, draw, 25 + 20).double().numpy()
    for b, first in enumerate(clips.offsets[:-1].tolist()):
        clip = clips.frames[first : first + lengths[b]].double().numpy()
        expected = slow_view(clip, numbers[b], kinect_v1, views)
        np.testing.assert_allclose(result[b], expected, rtol=0, atol=5e-5)


# -- what a view hangs on


def everything(layout) -> Views:
    in_time = {"frames": 16, "crop": (0.3, 1.0), "min_frames": 5}
    return umurl(layout, **in_time, corrupt_joints=9, rotation=45.0, scale=0.2, mirror=0.5)


def test_a_view_is_the_same_bits_alone_and_among_others(make_clips, pick, kinect_v2):
    clips, views = make_clips([9, 1, 30, 4, 77, 12], persons=2, joints=25), everything(kinect_v2)
    together = views(clips, 1, 2, 3)
    for order in ([0], [1], [4, 2], [5, 4, 3, 2, 1, 0]):
        assert torch.equal(views(pick(clips, order), 1, 2, 3), together[order])


def test_a_view_is_the_same_under_autocast(make_clips, kinect_v1):
    clips, views = make_clips([9, 30], persons=2), everything(kinect_v1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = views(clips, 1, 2, 3)
    assert torch.equal(inside, views(clips, 1, 2, 3))


def test_seed_epoch_clip_and_draw_all_matter(make_clips, kinect_v1):
    clips, views = make_clips([40, 40]), everything(kinect_v1)
    clips.frames[40:] = clips.frames[:40]
    view = views(clips, 1, 2, 3)
    assert not torch.allclose(view[0], view[1])
    for other in ((2, 2, 3), (1, 3, 3), (1, 2, 4), (3, 2, 1)):
        assert not torch.isclose(views(clips, *other), view).flatten(1).all(1).any()


def test_one_setting_does_not_touch_the_others_randomness(make_clips, kinect_v1):
    clips, views = make_clips([60] * 50), everything(kinect_v1)
    one = replace(views, mirror=0.0)(clips, 0, 0, 0)
    two = replace(views, mirror=0.3)(clips, 0, 0, 0)
    same = torch.isclose(one, two).flatten(1).all(1)
    assert 20 < same.sum() < 50


# -- what comes out


def test_zeros_stay_zero(make_clips, kinect_v2):
    clips = make_clips([20] * 40, persons=3, joints=25)
    clips.frames[:, 1] = 0
    view = everything(kinect_v2)(clips, 0, 0, 0)
    assert (view[:, :, 1] == 0).all() and (view[:, :, 0] != 0).any() and (view[:, :, 2] != 0).any()


@pytest.mark.parametrize("lengths", [[1], [1, 1, 1], [2, 63, 1]])
def test_clips_shorter_than_the_least_are_used_whole(make_clips, kinect_v2, lengths):
    clips = make_clips(lengths, joints=25)
    view = umurl(kinect_v2, **PLAIN)(clips, 0, 0, 0)
    for b, first in enumerate(clips.offsets[:-1].tolist()):
        clip = clips.frames[first : first + lengths[b]]
        assert torch.equal(view[b, 0], clip[0]) and torch.equal(view[b, -1], clip[-1])


def test_a_camera_that_turns_keeps_bones_and_heights(make_clips, kinect_v2):
    clips = make_clips([10] * 30, persons=2, joints=25)
    settings_ = PLAIN | WHOLE | {"frames": 10}
    still, turned = (
        umurl(kinect_v2, **settings_ | {"rotation": r})(clips, 0, 0, 0) for r in (0.0, 90.0)
    )
    assert torch.equal(still.flatten(0, 1), clips.frames)
    torch.testing.assert_close(turned[..., 1], still[..., 1], rtol=0, atol=1e-6)
    parents = list(kinect_v2.parents)
    bones, before = ((x - x[..., parents, :]).norm(dim=-1) for x in (turned, still))
    torch.testing.assert_close(bones, before, rtol=1e-5, atol=1e-5)
    assert (turned - still).abs().flatten(1).amax(1).min() > 1e-3


def test_a_mirror_swaps_left_and_right(make_clips, kinect_v2):
    clips = make_clips([10] * 400, persons=2, joints=25)
    view = umurl(kinect_v2, **PLAIN | WHOLE | {"frames": 10, "mirror": 0.3})(clips, 0, 0, 0)
    raw = clips.frames.view_as(view)
    swapped = raw.clone()
    for v, name in enumerate(kinect_v2.joints):
        other = name.replace("left", "RIGHT").replace("right", "left").replace("RIGHT", "right")
        swapped[..., v, :] = raw[..., kinect_v2.joints.index(other), :] * torch.tensor(
            [-1.0, 1.0, 1.0]
        )
    is_plain, is_mirrored = ((view == x).flatten(1).all(1) for x in (raw, swapped))
    assert (is_plain ^ is_mirrored).all()
    assert stats.binomtest(int(is_mirrored.sum()), 400, 0.3).pvalue > 1e-5


# -- the distribution, against what the published code does


@pytest.mark.parametrize(
    ("length", "low", "least"), [(100, 0.1, 64), (300, 0.1, 64), (20, 0.3, 1), (70, 0.5, 64)]
)
def test_parts_are_distributed_as_published(kinect_v1, length, low, least):
    """Length = floor(length * U(low, 1)), at least `least`; the start is any that fits, each as
    likely.
    """
    count, seen = 4000, []
    ramp = torch.arange(length, dtype=torch.float32)[:, None, None, None].expand(length, 1, 20, 3)
    # A view with at least as many frames as its part begins and ends exactly at the part's first
    # and last frame.
    views = umurl(kinect_v1, **PLAIN | {"frames": length, "crop": (low, 1.0), "min_frames": least})
    for chunk in torch.arange(count).split(500):
        offsets = torch.arange(len(chunk) + 1) * length
        clips = ClipBatch(
            ramp.repeat(len(chunk), 1, 1, 1), offsets, chunk, torch.full_like(chunk, -1)
        )
        seen.append(views(clips, 11, 0, 0)[:, [0, -1], 0, 0, 0])
    first, last = torch.cat(seen).T
    assert torch.equal(first, first.round()) and torch.equal(last, last.round())
    start, span = first.long(), (last - first).long() + 1
    probability = np.zeros(length + 1)
    edges = np.clip((np.arange(length + 2) / length - low) / (1 - low), 0, 1)
    for n, p in enumerate(np.diff(edges)):
        probability[min(max(n, least), length)] += p
    observed = np.bincount(span, minlength=length + 1)
    possible = probability > 0
    assert observed[~possible].sum() == 0
    assert (
        stats.chisquare(
            observed[possible], probability[possible] / probability.sum() * count
        ).pvalue
        > 1e-5
    )
    assert (start + span <= length).all()
    room = length - span + 1
    share = (start + torch.rand(count, generator=torch.Generator().manual_seed(0))) / room
    assert stats.kstest(share[room > 1].numpy(), "uniform").pvalue > 1e-5


COUNT = 6000


def matrices(views: Views) -> torch.Tensor:
    """The matrices of COUNT views, [COUNT, V, 3, 3]: three persons that stand at the unit vectors
    show the rows.
    """
    joints = views.layout.num_joints
    frames = torch.eye(3).view(1, 3, 1, 3).repeat(COUNT, 1, joints, 1)
    ids = torch.arange(COUNT)
    clips = ClipBatch(frames, torch.arange(COUNT + 1), ids, torch.full_like(ids, -1))
    return replace(views, frames=1)(clips, 5, 0, 0)[:, 0].transpose(1, 2)


def is_uniform(x: torch.Tensor, low: float, high: float) -> bool:
    assert x.min() >= low and x.max() <= high
    return stats.kstest(x.double().numpy(), "uniform", args=(low, high - low)).pvalue > 1e-5


def test_corruption_and_shear_are_distributed_as_published(kinect_v2):
    """Half sheared, a quarter erased, a quarter distorted; 15 joints share one matrix."""
    maps = matrices(umurl(kinect_v2))
    plain = (maps == torch.eye(3)).all(-1).all(-1)
    erased = (maps == 0).all(-1).all(-1)
    corrupted = plain.any(1)
    assert stats.binomtest(int(corrupted.sum()), COUNT, 0.5).pvalue > 1e-5
    assert (plain[corrupted].sum(1) == 10).all()
    gone = erased.any(1)
    assert not (gone & ~corrupted).any()
    assert (erased[gone].sum(1) == 15).all()
    assert stats.binomtest(int(gone.sum()), int(corrupted.sum()), 0.5).pvalue > 1e-5

    chosen = ~plain[corrupted]
    for share in chosen.sum(0).tolist():  # each joint is as likely
        assert stats.binomtest(share, len(chosen), 15 / 25).pvalue > 1e-5
    pairs = (chosen.double().T @ chosen.double() / len(chosen))[~torch.eye(25, dtype=torch.bool)]
    expected = 15 * 14 / (25 * 24)  # and so is each pair
    assert (pairs - expected).abs().max() < 5 * (expected * (1 - expected) / len(chosen)) ** 0.5

    distorted = corrupted & ~gone
    noise = maps[distorted][~plain[distorted]].view(-1, 15, 3, 3)
    assert torch.equal(noise, noise[:, :1].expand_as(noise))
    shear = maps[~corrupted]
    assert torch.equal(shear, shear[:, :1].expand_as(shear))
    assert (shear.diagonal(dim1=-2, dim2=-1) == 1).all()
    for i in range(3):
        for j in range(3):
            assert is_uniform(noise[:, 0, i, j], -1, 1)
            assert i == j or is_uniform(shear[:, 0, i, j], -1, 1)
    beside = shear[:, 0][:, ~torch.eye(3, dtype=torch.bool)]
    independent = torch.corrcoef(beside.T.double()) - torch.eye(6, dtype=torch.float64)
    assert independent.abs().max() < 5 / len(beside) ** 0.5


def test_rotation_and_scale_are_uniform_in_their_range(kinect_v1):
    maps = matrices(umurl(kinect_v1, **PLAIN | {"rotation": 30.0, "scale": 0.2}))
    assert torch.equal(maps, maps[:, :1].expand_as(maps))
    size = maps[:, 0, 1, 1]
    assert is_uniform(size, 0.8, 1.2 + 1e-6)
    angle = torch.rad2deg(torch.atan2(maps[:, 0, 2, 0], maps[:, 0, 0, 0]))
    assert is_uniform(angle, -30.0001, 30.0001)
    assert torch.corrcoef(torch.stack([size, angle]))[0, 1].abs() < 5 / COUNT**0.5


def test_nothing_asked_for_changes_nothing(kinect_v1):
    maps = matrices(umurl(kinect_v1, **PLAIN))
    assert torch.equal(maps, torch.eye(3).expand_as(maps))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": 0}, "frames must be at least 1, got 0"),
        ({"crop": (0.5, 0.2)}, "crop must be two shares"),
        ({"crop": (-0.1, 1.0)}, "crop must be two shares"),
        ({"crop": (0.1, 1.1)}, "crop must be two shares"),
        ({"min_frames": 0}, "min_frames must be at least 1"),
        (
            {"corrupt_joints": 26},
            "corrupt_joints must be from 0 to 25, the number of joints, got 26",
        ),
        ({"corrupt_joints": -1}, "corrupt_joints"),
        ({"shear": -0.5}, "shear must be at least 0"),
        ({"corrupt_probability": 1.5}, "corrupt_probability must be between 0 and 1"),
        ({"rotation": 270.0}, "rotation must be between 0 and 180 degrees"),
        ({"rotation": math.nan}, "rotation must be between 0 and 180 degrees, got nan"),
        ({"scale": 1.0}, "scale must be at least 0 and below 1"),
        ({"mirror": -0.1}, "mirror must be between 0 and 1"),
    ],
)
def test_settings_out_of_range_are_refused(kinect_v2, change, message):
    with pytest.raises(ValueError, match=message):
        umurl(kinect_v2, **change)


def test_clips_of_another_skeleton_are_refused(make_clips, kinect_v2):
    with pytest.raises(ValueError, match="clips have 20 joints, skeleton kinect_v2 has 25"):
        umurl(kinect_v2)(make_clips([3]), 0, 0, 0)
