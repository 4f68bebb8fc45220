"""Stick figures show the joints and bones that are there, where they were recorded."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba

from models.skeleton import SkeletonLayout
from pipeline.pages.skeletons import skeletons
from pipeline.pages.style import LEFT, RIGHT, png

LAYOUT = SkeletonLayout(
    "cross", ("middle", "top", "left", "right"), (0, 0, 0, 0), 0, 2, 3, ((2, 3),)
)


def bones(axes) -> list[LineCollection]:
    return [collection for collection in axes.collections if isinstance(collection, LineCollection)]


def test_skeletons_draw_the_bones_that_are_there():
    clip = np.ones((10, 2, 4, 3)) * np.arange(1, 5)[:, None]
    clip[:, 1] = 0  # a second person who is not there
    clip[0, 0, 3] = 0  # the right joint missing at first
    figure = skeletons([("one", clip)], LAYOUT, "title", moments=4)
    drawn = bones(figure.axes[0])
    assert [len(person.get_segments()) for person in drawn] == [2, 0, 3, 0, 3, 0, 3, 0]
    assert [text.get_text() for text in figure.axes[0].texts] == ["1/10", "4/10", "7/10", "10/10"]
    left = to_rgba(LEFT)
    right = to_rgba(RIGHT)
    assert tuple(drawn[2].get_colors()[1]) == left and tuple(drawn[2].get_colors()[2]) == right


def test_each_moment_keeps_its_shape_and_stands_in_its_place():
    clip = np.random.default_rng(0).normal(size=(8, 1, 4, 3))
    drawn = bones(skeletons([("one", clip)], LAYOUT, "title", moments=8).axes[0])
    edges = []
    for frame, person in zip(clip[:, 0], drawn, strict=True):
        segments = np.array(person.get_segments())
        np.testing.assert_allclose(
            segments[:, 0] - segments[:, 1], frame[1:, :2] - frame[0, :2], atol=1e-9
        )
        edges.append((segments[..., 0].min(), segments[..., 0].max()))
    assert all(before[1] < after[0] for before, after in pairwise(edges))


@pytest.mark.parametrize("length", [1, 3])
def test_a_clip_of_nothing_is_drawn_as_nothing(length):
    figure = skeletons([("empty", np.zeros((length, 2, 4, 3)))], LAYOUT, "title")
    assert sum(len(person.get_segments()) for person in bones(figure.axes[0])) == 0
    assert png(figure).startswith(b"\x89PNG")
