import pytest
import torch

from models.skeleton import SkeletonLayout, index_tensor

# Joint <- parent, numbered from 1, as the data sets document them.
# fmt: off
KINECT_V1 = {
    1: 2, 2: 3, 3: 3, 4: 3, 5: 3, 6: 5, 7: 6, 8: 7, 9: 3, 10: 9, 11: 10, 12: 11,
    13: 1, 14: 13, 15: 14, 16: 15, 17: 1, 18: 17, 19: 18, 20: 19,
}
KINECT_V2 = {
    1: 2, 2: 21, 3: 21, 4: 3, 5: 21, 6: 5, 7: 6, 8: 7, 9: 21, 10: 9, 11: 10, 12: 11, 13: 1,
    14: 13, 15: 14, 16: 15, 17: 1, 18: 17, 19: 18, 20: 19, 21: 21, 22: 23, 23: 8, 24: 25, 25: 12,
}
# fmt: on


@pytest.mark.parametrize(
    ("which", "tree", "root"), [("kinect_v1", KINECT_V1, 3), ("kinect_v2", KINECT_V2, 21)]
)
def test_shipped_trees_are_the_documented_ones(request, which, tree, root):
    layout = request.getfixturevalue(which)
    assert {child + 1: parent + 1 for child, parent in enumerate(layout.parents)} == tree
    assert layout.name == which
    roots = [joint + 1 for joint, parent in enumerate(layout.parents) if joint == parent]
    assert roots == [root]
    assert layout.num_joints == len(tree)
    assert (layout.centre, layout.left_shoulder, layout.right_shoulder) == (1, 4, 8)


@pytest.mark.parametrize("which", ["kinect_v1", "kinect_v2"])
def test_shipped_mirrors_swap_left_and_right_and_keep_the_bones(request, which):
    layout = request.getfixturevalue(which)
    order = layout.mirror_permutation
    for joint, other in enumerate(order):
        name = layout.joints[joint]
        swapped = name.replace("left", "right") if "left" in name else name.replace("right", "left")
        assert layout.joints[other] == swapped
        assert order[other] == joint
        assert order[layout.parents[joint]] == layout.parents[other]


def test_bones_are_all_joints_but_the_root_with_their_parents(kinect_v1):
    bones = {joint + 1: parent + 1 for joint, parent in kinect_v1.bones}
    assert bones == {joint: parent for joint, parent in KINECT_V1.items() if joint != parent}
    assert len(kinect_v1.bones) == 19


def build(**change) -> SkeletonLayout:
    good = {
        "name": "stick",
        "joints": {"hip": None, "chest": "hip", "left": "chest", "right": "chest"},
        "centre": "hip",
        "left_shoulder": "left",
        "right_shoulder": "right",
        "mirror": [["left", "right"]],
    }
    return SkeletonLayout.build(**(good | change))


def test_build_turns_names_into_numbers():
    assert build() == SkeletonLayout(
        name="stick",
        joints=("hip", "chest", "left", "right"),
        parents=(0, 0, 1, 1),
        centre=0,
        left_shoulder=2,
        right_shoulder=3,
        mirror=((2, 3),),
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"joints": {"hip": None, "chest": None, "left": "chest", "right": "chest"}},
            "hip and chest have no parent",
        ),
        (
            {"joints": {"hip": "left", "chest": "hip", "left": "chest", "right": "chest"}},
            "form a cycle",
        ),
        (
            {"joints": {"hip": None, "chest": "left", "left": "chest", "right": "hip"}},
            "form a cycle",
        ),
        (
            {"joints": {"hip": None, "chest": "hip", "left": "neck", "right": "hip"}},
            "parent of left .* joint neck",
        ),
        ({"joints": {}}, "unknown joint hip"),
        ({"centre": "navel"}, "centre names the unknown joint navel"),
        ({"left_shoulder": "l"}, "left_shoulder names the unknown joint l"),
        ({"right_shoulder": "r"}, "right_shoulder names the unknown joint r"),
        ({"right_shoulder": "left"}, "the same joint"),
        ({"mirror": [["left", "rihgt"]]}, "mirror names the unknown joint rihgt"),
        ({"mirror": [["left", "right"], ["chest", "left"]]}, "left is in more than one place"),
        ({"mirror": [["left", "left"]]}, "left is in more than one place"),
        ({"mirror": [["left"]]}, "a left and a right joint, got .'left'."),
        (
            {"joints": {"hip": None, "chest": "hip", "left": "chest", "right": "hip"}},
            "left and right are a mirror pair, but their bones are not: they go to chest and hip",
        ),
        ({"mirror": [["hip", "right"]]}, "hip and right are a mirror pair, but their bones"),
        (
            {
                "joints": {"hip": None, "chest": "hip", "left": "hip", "right": "hip"},
                "mirror": [["chest", "right"]],
            },
            "left and right shoulder are no mirror pair",
        ),
    ],
)
def test_a_layout_that_is_no_skeleton_is_refused(change, message):
    with pytest.raises(ValueError, match=message) as error:
        build(**change)
    assert "skeleton stick" in str(error.value)


@pytest.mark.parametrize(
    ("joints", "parents", "message"),
    [
        (("a", "a"), (0, 0), "different names"),
        (("a", "b"), (0,), "2 joints but 1 parents"),
        (("a", "b"), (0, 2), "joint number 2 is not one of 0 to 1"),
        (("a", "b"), (0, -1), "joint number -1"),
        ((), (), "at least one joint"),
    ],
)
def test_numbers_are_checked_as_names_are(joints, parents, message):
    with pytest.raises(ValueError, match=message):
        SkeletonLayout(
            "stick", joints, parents, centre=0, left_shoulder=0, right_shoulder=1, mirror=()
        )


def test_an_index_made_in_inference_mode_can_be_trained_with():
    with torch.inference_mode():
        index = index_tensor((2, 0, 1, 1), torch.device("cpu"))
    x = torch.arange(3.0, requires_grad=True)
    (x * x).index_select(0, index).sum().backward()
    assert x.grad.tolist() == [0.0, 4.0, 4.0]
