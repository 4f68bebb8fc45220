"""Points of a space, and what a user would type for them."""

import pytest

from pipeline.config.compose import load
from pipeline.config.sweep import Range
from pipeline.sweep.space import contains, corners, grid, overrides_of, rounded, same


def range_of(kind, values):
    return Range.model_validate({kind: values})


SPACE = {
    "views.shear": range_of("uniform", [0, 1]),
    "train.optimiser.lr": range_of("log_uniform", [1e-4, 1e-2]),
    "views.corrupt_joints": range_of("integer", [2, 4]),
    "model.modalities": range_of("choice", [["joint"], ["joint", "bone"]]),
}


def test_a_point_composes_to_its_values():
    params = {
        "views": "umurl",
        "train.optimiser.lr": 1e-05,
        "model.modalities": ["joint", "bone"],
        "train.clip_norm": None,
    }
    config = load(overrides_of(params))
    assert config.views == load(["views=umurl"]).views
    assert config.train.optimiser.lr == 1e-05
    assert config.model.modalities == ["joint", "bone"]
    assert config.train.clip_norm is None


def test_the_corners_are_both_ends_of_each_key_and_each_choice():
    found = list(corners(SPACE))
    first = {
        "views.shear": 0.0,
        "train.optimiser.lr": 1e-4,
        "views.corrupt_joints": 2,
        "model.modalities": ["joint"],
    }
    assert found == [
        (None, first),
        ("views.shear", first | {"views.shear": 1.0}),
        ("train.optimiser.lr", first | {"train.optimiser.lr": 1e-2}),
        ("views.corrupt_joints", first | {"views.corrupt_joints": 4}),
        ("model.modalities", first | {"model.modalities": ["joint", "bone"]}),
    ]
    assert all(contains(SPACE, params) for _, params in found)


def test_a_grid_has_all_combinations_the_last_key_fastest():
    space = {"a": range_of("integer", [1, 2]), "b": range_of("choice", ["x", "y"])}
    assert list(grid(space)) == [
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y"},
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"views.shear": 1.5},
        {"views.shear": True},
        {"views.shear": "0"},
        {"views.corrupt_joints": 2.0},
        {"views.corrupt_joints": 5},
        {"model.modalities": ["bone"]},
        {"other": 1},
    ],
    ids=str,
)
def test_another_value_is_not_in_the_space(change):
    _, first = next(corners(SPACE))
    assert not contains(SPACE, first | change)


def test_numbers_have_few_digits_and_stay_in_their_range():
    values = range_of("uniform", [0.12344, 0.2])
    assert rounded(0.1987654, values) == 0.1988
    assert rounded(0.12344, values) == 0.12344
    assert rounded(0.19999999, values) == 0.2


def test_points_with_values_of_other_types_differ():
    assert same({"a": 1, "b": [2]}, {"b": [2], "a": 1})
    assert not same({"a": 1}, {"a": True})
    assert not same({"a": 1}, {"a": 1.0})
