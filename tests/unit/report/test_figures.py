"""Figures show the numbers that they are given."""

import numpy as np
from sklearn.neighbors import KNeighborsClassifier

from pipeline.report import figures


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
    both = {"random": random.normal(size=(90, 16)), "encoder": features}
    notes = {"encoder": "1-NN 99.0 %"}
    figure = figures.embedding(both, labels, {3: "wave"}, notes, 0, "title")
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
