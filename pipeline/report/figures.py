"""The figures of a report: numbers in, matplotlib figures out. No files, no Ray."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import confusion_matrix

from pipeline.core.arithmetic import ceil_div
from pipeline.core.console import percent
from pipeline.pages.style import INK, headline, letters, single, styled
from pipeline.runs.files import ENCODER, RANDOM_ENCODER

# What the figures call the two encoders, and their colours: the one before training is grey.
LABELS = {ENCODER: "pretrained", RANDOM_ENCODER: "random start"}
COLOURS = {ENCODER: "#1f5fbf", RANDOM_ENCODER: "#9aa3af"}
# Colours of the terms of the loss, in turn.
LINES = ("#1f5fbf", "#d1495b", "#2a9d6f", "#e09f3e", "#7b5ea7", "#3aa6b9", "#8d6e63")

# With more classes, neither the colours of a legend nor the numbers in cells can be told apart.
MOST_NAMED = 20
# Ticks on each axis of a confusion matrix whose classes are not named.
MOST_TICKS = 12


@dataclass(frozen=True, order=True)
class LineEnd:
    """The text at the right end of a line: where it belongs, what it says, in which colour."""

    value: float
    text: str
    colour: str


def losses(rows: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """Every loss over the steps of pretraining, the total in bold.

    Args:
        rows: one a logged step, as in `metrics.jsonl`; a row may lack some of the losses.
        title: what the figure shows.
    """
    figure, axes = single(7.5, 3.6, title)
    ends = []
    for number, name in enumerate(_loss_names(rows)):
        logged = [row for row in rows if name in row]
        steps = np.array([row["step"] for row in logged], dtype=float)
        values = np.array([row[name] for row in logged], dtype=float)
        text = name.removeprefix("loss/")
        colour = LINES[(number - 1) % len(LINES)]
        width = 1.5
        if name == "loss":
            text = "total"
            colour = INK
            width = 2.2
        # A line through fewer points than three shows little, so the points are drawn too.
        marker = "o" if len(steps) < 3 else None
        axes.plot(steps, values, color=colour, linewidth=width, marker=marker, markersize=4)
        ends.append(LineEnd(values[-1], text, colour))
    axes.set_xlabel("optimiser step")
    axes.margins(y=0.08)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _label_ends(axes, ends)
    return figure


def _loss_names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """`loss`, the total, then its terms in alphabetical order."""
    names: set[str] = set()
    for row in rows:
        names.update(name for name in row if name == "loss" or name.startswith("loss/"))
    return sorted(names)


def probe_curves(curves: Mapping[str, Sequence[float]], title: str) -> Figure:
    """Test accuracy of the linear probe over its epochs, a line for each encoder.

    Args:
        curves: name of an encoder -> accuracies (fractions) after each epoch.
        title: what the figure shows.
    """
    figure, axes = single(7.5, 3.2, title)
    ends = []
    for name, values in curves.items():
        colour = COLOURS[name]
        epochs = np.arange(1, len(values) + 1)
        axes.plot(epochs, values, color=colour, linewidth=1.8)
        axes.plot(epochs[-1:], values[-1:], "o", color=colour, markersize=5)
        text = f"{LABELS[name]}  {percent(values[-1])}"
        ends.append(LineEnd(values[-1], text, colour))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel("epoch of the probe (the last is the result)")
    axes.set_xlim(left=0)
    _label_ends(axes, ends)
    return figure


def embedding(
    features: Mapping[str, np.ndarray],
    labels: np.ndarray,
    class_names: Mapping[int, str],
    notes: Mapping[str, str],
    seed: int,
    title: str,
) -> Figure:
    """t-SNE maps of test features, a panel for each encoder, coloured by class.

    Distances are cosine distances, as in retrieval.

    Args:
        features: name of an encoder -> features [N, D].
        labels: [N], of the clips.
        class_names: label -> name; a label without a name is shown as a number.
        notes: name of an encoder -> text beside the name of its panel.
        seed: fixes the maps and the order in which the dots are drawn.
        title: what the figure shows.
    """
    classes = np.unique(labels)
    palette = _palette(len(classes))
    colours = palette[np.searchsorted(classes, labels)]
    named = len(classes) <= MOST_NAMED
    # Drawn class by class, the last class would cover the others.
    order = np.random.default_rng(seed).permutation(len(labels))
    with styled(grid=False):
        width = 4.1 * len(features)
        if named:
            width += 1.9  # for the legend
        figure = Figure(figsize=(width, 4.7), layout="constrained")
        panels = figure.subplots(1, len(features), squeeze=False)[0]
        for axes, (name, values) in zip(panels, features.items(), strict=True):
            _scatter_map(axes, _project(values, seed)[order], colours[order])
            axes.set_title(f"{LABELS[name]}   {notes.get(name, '')}", color=INK)
        if named:
            # Empty scatters, because the legend needs one mark for each class.
            for label, colour in zip(classes, palette, strict=True):
                panels[0].scatter([], [], color=colour, s=26, label=_name(class_names, label))
            figure.legend(loc="outside right center", frameon=False, fontsize=8)
        headline(figure, title)
    return figure


def _scatter_map(axes: Axes, points: np.ndarray, colours: np.ndarray) -> None:
    """Draw points [N, 2]; the more there are, the smaller each of them."""
    size = np.clip(6000 / len(points), 6, 26)
    axes.scatter(points[:, 0], points[:, 1], c=colours, s=size, linewidths=0, alpha=0.85)
    axes.set_box_aspect(1)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(True)


def confusion(
    labels: np.ndarray, predictions: np.ndarray, class_names: Mapping[int, str], title: str
) -> Figure:
    """Confusion matrix in percent of each true class.

    Args:
        labels: [N], the true class of each clip (a row of the matrix).
        predictions: [N], the predicted class (a column).
        class_names: label -> name; a label without a name is shown as a number.
        title: what the figure shows.
    """
    classes = np.unique(np.concatenate([labels, predictions]))
    counts = confusion_matrix(labels, predictions, labels=classes)
    # A class that is only ever predicted has an empty row: 0 %, not 0 / 0.
    share = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = np.clip(0.42 * len(classes), 3.6, 9)
    with styled(grid=False):
        figure = Figure(figsize=(size + 1.9, size + 1.5), layout="constrained")
        axes = figure.subplots()
        image = axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        if len(classes) <= MOST_NAMED:
            _name_cells(axes, share, [_name(class_names, label) for label in classes])
        else:
            step = ceil_div(len(classes), MOST_TICKS)
            ticks = range(0, len(classes), step)
            axes.set_xticks(ticks, [str(classes[tick]) for tick in ticks])
            axes.set_yticks(ticks, [str(classes[tick]) for tick in ticks])
            scale = PercentFormatter(100, decimals=0)
            bar = figure.colorbar(image, ax=axes, shrink=0.6, format=scale)
            bar.outline.set_visible(False)
        headline(figure, title)
    return figure


def _name_cells(axes: Axes, share: np.ndarray, names: Sequence[str]) -> None:
    """Name the rows and columns of a confusion matrix and write the percentage into its cells."""
    places = range(len(names))
    axes.set_xticks(places, names, rotation=40, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(places, names, fontsize=8)
    # White lines between the cells.
    edges = np.arange(len(names) + 1) - 0.5
    axes.set_xticks(edges, minor=True)
    axes.set_yticks(edges, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="minor", length=0)
    # Cells that would read "0" stay empty.
    for row, column in np.argwhere(share >= 0.5):
        colour = "white" if share[row, column] > 55 else INK
        text = f"{share[row, column]:.0f}"
        axes.text(column, row, text, ha="center", va="center", fontsize=7.5, color=colour)


def _label_ends(axes: Axes, ends: Sequence[LineEnd]) -> None:
    """Write names beside the right ends of lines, in the lines' colours.

    Names go from the bottom up, and each is pushed above the one before it, so none overlap.
    """
    low, high = axes.get_ylim()
    gap = 0.075 * (high - low)
    height = -np.inf
    for end in sorted(ends):
        height = max(end.value, height + gap)
        axes.annotate(
            end.text,
            (1.015, (height - low) / (high - low)),
            xycoords="axes fraction",
            va="center",
            color=end.colour,
            fontweight="bold",
            annotation_clip=False,
        )


def _project(values: np.ndarray, seed: int) -> np.ndarray:
    """Map features [N, D] to points [N, 2] by t-SNE (van der Maaten and Hinton, 2008)."""
    # Between vectors of length one, Euclidean distances order pairs as cosine distances do.
    unit = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    # Fifty principal components are the authors' advice: faster, and less noise.
    reduced = PCA(min(50, *unit.shape), random_state=seed).fit_transform(unit)
    # The perplexity must be smaller than the number of points.
    perplexity = min(30.0, (len(values) - 1) / 3)
    tsne = TSNE(2, perplexity=perplexity, init="pca", max_iter=500, random_state=seed)
    return tsne.fit_transform(reduced)


def _palette(count: int) -> np.ndarray:
    """RGBA [count, 4]: colours with names while these suffice, else a rainbow."""
    if count <= 10:
        return matplotlib.colormaps["tab10"](np.arange(count))
    if count <= MOST_NAMED:
        return matplotlib.colormaps["tab20"](np.arange(count))
    return matplotlib.colormaps["hsv"](np.linspace(0, 0.95, count))


def _name(class_names: Mapping[int, str], label: int) -> str:
    return letters(class_names.get(int(label), str(label)))
