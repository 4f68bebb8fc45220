"""Figures show the numbers that they are given."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from sklearn.neighbors import KNeighborsClassifier

from models.skeleton import SkeletonLayout
from pipeline.pages.style import png
from pipeline.report import figures

LAYOUT = SkeletonLayout(
    "cross", ("middle", "top", "left", "right"), (0, 0, 0, 0), 0, 2, 3, ((2, 3),)
)


def lines(axes) -> list:
    return [line for line in axes.get_lines() if len(line.get_xdata()) > 1]


def test_losses_draw_every_term_and_nothing_else():
    rows = [
        {
            "step": s,
            "epoch": 0,
            "loss": 9 - s,
            "loss/view": 4 - s,
            "train/clips_per_second": 100,
            "time": 5,
        }
        for s in range(4)
    ]
    rows[0].pop("loss/view")  # a term that joined later
    axes = figures.losses(rows, "title").axes[0]
    drawn = sorted([line.get_xdata().tolist(), line.get_ydata().tolist()] for line in lines(axes))
    assert drawn == [[[0, 1, 2, 3], [9, 8, 7, 6]], [[1, 2, 3], [3, 2, 1]]]
    assert {text.get_text() for text in axes.texts} == {"total", "view"}


def test_labels_at_the_ends_do_not_overlap():
    rows = [
        {"step": s, "loss": 1.0 + s, "loss/a": 1.0, "loss/b": 1.001, "loss/c": 1.002}
        for s in range(3)
    ]
    heights = sorted(text.xy[1] for text in figures.losses(rows, "title").axes[0].texts)
    assert min(np.diff(heights)) > 0.07


def test_probe_curves_end_in_the_result():
    figure = figures.probe_curves(
        {"encoder": [0.2, 0.9, 0.875], "random": [0.1, 0.2, 0.3]}, "title"
    )
    assert {text.get_text() for text in figure.axes[0].texts} == {
        "pretrained  87.5 %",
        "random start  30.0 %",
    }
    assert [line.get_ydata().tolist() for line in lines(figure.axes[0])] == [
        [0.2, 0.9, 0.875],
        [0.1, 0.2, 0.3],
    ]


def test_confusion_is_in_percent_of_the_true_class():
    labels, predictions = np.array([0, 0, 0, 0, 5, 5, 7]), np.array([0, 0, 0, 5, 5, 0, 5])
    axes = figures.confusion(labels, predictions, {0: "wave", 5: "clap"}, "title").axes[0]
    expected = [[75, 25, 0], [50, 50, 0], [0, 100, 0]]
    np.testing.assert_allclose(axes.images[0].get_array(), expected)
    assert [tick.get_text() for tick in axes.get_yticklabels()][:3] == ["wave", "clap", "7"]
    cells = {tuple(map(round, text.get_position())): text.get_text() for text in axes.texts}
    assert cells == {
        (0, 0): "75",
        (1, 0): "25",
        (0, 1): "50",
        (1, 1): "50",
        (1, 2): "100",
    }  # (column, row)


def test_many_classes_have_a_scale_in_place_of_names():
    labels = np.repeat(np.arange(60), 2)
    figure = figures.confusion(labels, np.roll(labels, 1), {}, "title")
    assert len(figure.axes) == 2 and not figure.axes[0].texts  # the second is the colour scale
    np.testing.assert_allclose(np.diag(figure.axes[0].images[0].get_array()), 50)


def points(figure) -> np.ndarray:
    return np.asarray(figure.axes[0].collections[0].get_offsets())


def test_embedding_keeps_neighbours_and_colours_classes():
    random = np.random.default_rng(0)
    labels = np.repeat([3, 4, 9], 30)
    centres = random.normal(size=(3, 16))
    features = centres[np.repeat(range(3), 30)] + 0.15 * random.normal(size=(90, 16))
    figure = figures.embedding({"random": random.normal(size=(90, 16)), "encoder": features}, labels, {3: "wave"},
                               {"encoder": "1-NN 99.0 %"}, 0, "title")  # fmt: skip
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "random start   ",
        "pretrained   1-NN 99.0 %",
    ]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["wave", "4", "9"]
    cloud = figure.axes[1].collections[0]
    colours = np.unique(cloud.get_facecolors(), axis=0, return_inverse=True)[1]
    assert np.bincount(colours).tolist() == [30, 30, 30]
    # Well separated classes stay together on the map: a point's neighbours have its colour.
    near = KNeighborsClassifier(5).fit(cloud.get_offsets(), colours)
    assert near.score(cloud.get_offsets(), colours) > 0.95


def test_the_seed_fixes_the_embedding():
    values, labels = np.random.default_rng(1).normal(size=(25, 8)), np.arange(25) % 2
    first, again, other = (
        points(figures.embedding({"encoder": values}, labels, {}, {}, seed, "title"))
        for seed in (4, 4, 5)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def bones(axes) -> list[LineCollection]:
    return [collection for collection in axes.collections if isinstance(collection, LineCollection)]


def test_skeletons_draw_the_bones_that_are_there():
    clip = np.ones((10, 2, 4, 3)) * np.arange(1, 5)[:, None]
    clip[:, 1] = 0  # a second person who is not there
    clip[0, 0, 3] = 0  # the right joint missing at first
    figure = figures.skeletons([("one", clip)], LAYOUT, "title", moments=4)
    drawn = bones(figure.axes[0])
    assert [len(person.get_segments()) for person in drawn] == [2, 0, 3, 0, 3, 0, 3, 0]
    assert [text.get_text() for text in figure.axes[0].texts] == ["1/10", "4/10", "7/10", "10/10"]
    left, right = (
        figures.matplotlib.colors.to_rgba(colour) for colour in (figures.LEFT, figures.RIGHT)
    )
    assert tuple(drawn[2].get_colors()[1]) == left and tuple(drawn[2].get_colors()[2]) == right


def test_each_moment_keeps_its_shape_and_stands_in_its_place():
    clip = np.random.default_rng(0).normal(size=(8, 1, 4, 3))
    drawn = bones(figures.skeletons([("one", clip)], LAYOUT, "title", moments=8).axes[0])
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
    figure = figures.skeletons([("empty", np.zeros((length, 2, 4, 3)))], LAYOUT, "title")
    assert sum(len(person.get_segments()) for person in bones(figure.axes[0])) == 0
    assert png(figure).startswith(b"\x89PNG")
