import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.choices import MODALITIES
from models.modalities import modality
from tests.helpers.examples import examples


def root_of(layout):
    """The joint that is its own parent."""
    (root,) = [joint for joint, parent in enumerate(layout.parents) if joint == parent]
    return root


@examples(20)
@given(clips=st.integers(1, 3), frames=st.integers(1, 6), persons=st.integers(1, 3))
def test_modalities_equal_a_loop(kinect_v2, clips, frames, persons):
    views = torch.randn(clips, frames, persons, 25, 3)
    bone, motion = torch.zeros_like(views), torch.zeros_like(views)
    for t in range(frames):
        for v, parent in enumerate(kinect_v2.parents):
            bone[:, t, :, v] = views[:, t, :, v] - views[:, t, :, parent]
        if t + 1 < frames:
            motion[:, t] = views[:, t + 1] - views[:, t]
    assert torch.equal(modality("joint", views, kinect_v2), views)
    assert torch.equal(modality("bone", views, kinect_v2), bone)
    assert torch.equal(modality("motion", views, kinect_v2), motion)
    assert (bone[..., root_of(kinect_v2), :] == 0).all()
    assert (motion[:, -1] == 0).all()


def test_bones_and_motion_add_up_to_the_joints_again(kinect_v1):
    views = torch.randn(2, 9, 2, 20, 3, dtype=torch.float64)
    bone, motion = modality("bone", views, kinect_v1), modality("motion", views, kinect_v1)
    for joint in range(20):
        total, at = views[..., root_of(kinect_v1), :].clone(), joint
        while at != root_of(kinect_v1):
            total, at = total + bone[..., at, :], kinect_v1.parents[at]
        torch.testing.assert_close(total, views[..., joint, :])
    torch.testing.assert_close(views[:, :1] + motion.cumsum(1)[:, :-1], views[:, 1:])


def test_any_number_of_leading_dimensions(kinect_v1):
    views = torch.randn(2, 3, 5, 1, 20, 3)
    for name in MODALITIES:
        assert torch.equal(
            modality(name, views, kinect_v1)[1, 2], modality(name, views[1, 2], kinect_v1)
        )


def test_unknown_names_and_other_skeletons_are_refused(kinect_v1, kinect_v2):
    with pytest.raises(ValueError, match="modality must be one of joint, bone, motion, got angle"):
        modality("angle", torch.zeros(1, 2, 1, 20, 3), kinect_v1)
    with pytest.raises(ValueError, match="views have 20 joints, skeleton kinect_v2 has 25"):
        modality("bone", torch.zeros(1, 2, 1, 20, 3), kinect_v2)
