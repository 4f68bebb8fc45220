"""The figures of a report: numbers in, matplotlib figures out. No files, no Ray."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import confusion_matrix

from models.skeleton import SkeletonLayout
from pipeline.pages.style import INK, LEFT, MIDDLE, MUTED, RIGHT, STYLE, headline, single

ENCODER, RANDOM = "#1f5fbf", "#9aa3af"
LINES = ("#1f5fbf", "#d1495b", "#2a9d6f", "#e09f3e", "#7b5ea7", "#3aa6b9", "#8d6e63")
MOST_NAMED = 20  # classes that a legend or a cell's number can still tell apart


def losses(rows: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """Every loss over the steps of pretraining, the total in bold; `rows` as in `metrics.jsonl`."""
    names = sorted(
        {name for row in rows for name in row if name == "loss" or name.startswith("loss/")}
    )
    figure, axes = single(7.5, 3.6, title)
    ends = []
    for number, name in enumerate(names):
        points = [(row["step"], row[name]) for row in rows if name in row]
        x, y = np.array(points, dtype=float).T
        total = name == "loss"
        colour = INK if total else LINES[(number - 1) % len(LINES)]
        axes.plot(
            x,
            y,
            color=colour,
            linewidth=2.2 if total else 1.5,
            marker="o" if len(x) < 3 else None,
            markersize=4,
        )
        ends.append((y[-1], "total" if total else name.removeprefix("loss/"), colour))
    axes.set_xlabel("optimiser step")
    axes.margins(y=0.08)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _label_ends(axes, ends)
    return figure


def probe_curves(curves: Mapping[str, Sequence[float]], title: str) -> Figure:
    """Test accuracy (fractions) of the linear probe after each of its epochs, one line an encoder; "random" is grey."""
    figure, axes = single(7.5, 3.2, title)
    ends = []
    for name, values in curves.items():
        colour = RANDOM if name == "random" else ENCODER
        epochs = np.arange(1, len(values) + 1)
        axes.plot(epochs, values, color=colour, linewidth=1.8)
        axes.plot(epochs[-1:], values[-1:], "o", color=colour, markersize=5)
        ends.append((values[-1], f"{_NAMES.get(name, name)}  {100 * values[-1]:.1f} %", colour))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel("epoch of the probe (the last is the result)")
    axes.set_xlim(left=0)
    _label_ends(axes, ends)
    return figure


def embedding(
    features: Mapping[str, np.ndarray],
    labels: np.ndarray,
    names: Mapping[int, str],
    notes: Mapping[str, str],
    seed: int,
    title: str,
) -> Figure:
    """t-SNE maps of test features [N, D], one panel an encoder, coloured by class; `notes` stand beside a panel's name.

    Distances are cosine, as in retrieval. The seed fixes the maps.
    """
    classes = np.unique(labels)
    named = len(classes) <= MOST_NAMED
    colours = _palette(len(classes))[np.searchsorted(classes, labels)]
    # Classes are drawn in a mixed order, or the last would cover the others.
    order = np.random.default_rng(seed).permutation(len(labels))
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        width = 4.1 * len(features) + (1.9 if named else 0)
        figure = Figure(figsize=(width, 4.7), layout="constrained")
        panels = figure.subplots(1, len(features), squeeze=False)[0]
        for axes, (name, values) in zip(panels, features.items(), strict=True):
            points = _project(values, seed)[order]
            axes.scatter(
                *points.T,
                c=colours[order],
                s=np.clip(6000 / len(points), 6, 26),
                linewidths=0,
                alpha=0.85,
            )
            axes.set_title(f"{_NAMES.get(name, name)}   {notes.get(name, '')}", color=INK)
            axes.set_box_aspect(1)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(True)
        if named:
            for label, colour in zip(classes, _palette(len(classes)), strict=True):
                panels[0].scatter([], [], color=colour, s=26, label=_name(names, label))
            figure.legend(loc="outside right center", frameon=False, fontsize=8)
        headline(figure, title)
    return figure


def confusion(
    labels: np.ndarray, predictions: np.ndarray, names: Mapping[int, str], title: str
) -> Figure:
    """Confusion matrix in percent of each true class (a row), classes in the order of their labels."""
    classes = np.unique(np.concatenate([labels, predictions]))
    counts = confusion_matrix(labels, predictions, labels=classes)
    share = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    named = len(classes) <= MOST_NAMED
    size = np.clip(0.42 * len(classes), 3.6, 9)
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(size + 1.9, size + 1.5), layout="constrained")
        axes = figure.subplots()
        image = axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        if named:
            texts = [_name(names, label) for label in classes]
            axes.set_xticks(
                range(len(classes)),
                texts,
                rotation=40,
                ha="right",
                rotation_mode="anchor",
                fontsize=8,
            )
            axes.set_yticks(range(len(classes)), texts, fontsize=8)
            axes.set_xticks(np.arange(len(classes) + 1) - 0.5, minor=True)
            axes.set_yticks(np.arange(len(classes) + 1) - 0.5, minor=True)
            axes.grid(which="minor", color="white", linewidth=1.5)
            axes.tick_params(which="minor", length=0)
            for row, column in np.argwhere(share >= 0.5):
                colour = "white" if share[row, column] > 55 else INK
                value = f"{share[row, column]:.0f}"
                axes.text(column, row, value, ha="center", va="center", fontsize=7.5, color=colour)
        else:
            step = -(-len(classes) // 12)
            ticks = range(0, len(classes), step)
            axes.set_xticks(ticks, [str(classes[i]) for i in ticks])
            axes.set_yticks(ticks, [str(classes[i]) for i in ticks])
            bar = figure.colorbar(
                image, ax=axes, shrink=0.6, format=PercentFormatter(100, decimals=0)
            )
            bar.outline.set_visible(False)
        headline(figure, title)
    return figure


def skeletons(
    clips: Sequence[tuple[str, np.ndarray]], layout: SkeletonLayout, title: str, moments: int = 8
) -> Figure:
    """Moments of clips as stick figures: one row for each (name, coordinates [T, M, V, 3]), evenly spaced in time.

    x to the right, y up, each moment moved sideways into its place; left limbs blue, right limbs orange, other
    persons dashed. Joints that are exactly zero are missing and not drawn.
    """
    colours = joint_colours(layout)
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(9.6, 1.75 * len(clips) + 0.4), layout="constrained")
        for axes, (name, clip) in zip(
            figure.subplots(len(clips), squeeze=False)[:, 0], clips, strict=True
        ):
            _strip(
                axes,
                clip,
                np.unique(np.linspace(0, len(clip) - 1, moments).round().astype(int)),
                layout,
                colours,
            )
            axes.set_title(name, fontsize=9, color=INK, pad=2)
        headline(figure, title)
    return figure


def joint_colours(layout: SkeletonLayout) -> list[str]:
    """A colour for every joint, and the bone to its parent: which side of the body it is on."""
    left, right = ({pair[side] for pair in layout.mirror} for side in (0, 1))
    return [
        LEFT if joint in left else RIGHT if joint in right else MIDDLE
        for joint in range(layout.num_joints)
    ]


def _strip(
    axes: Axes,
    clip: np.ndarray,
    moments: np.ndarray,
    layout: SkeletonLayout,
    colours: Sequence[str],
) -> None:
    """One row of `skeletons`."""
    bones = np.array(
        [(joint, parent) for joint, parent in enumerate(layout.parents) if joint != parent]
    )
    there = (clip[moments] != 0).any(-1)
    points = np.where(there[..., None], clip[moments, ..., :2], np.nan)  # [moments, M, V, 2]
    blank = np.zeros((len(moments), 2))
    seen = there.any((1, 2))
    low, high = blank.copy(), blank.copy()
    low[seen], high[seen] = np.nanmin(points[seen], (1, 2)), np.nanmax(points[seen], (1, 2))
    bottom, top = low[seen, 1].min(initial=np.inf), high[seen, 1].max(initial=-np.inf)
    height = max(top - bottom, 0.5) if seen.any() else 1.0
    pitch = max(1.35 * (high - low)[:, 0].max(), 0.8 * height)
    for place, moment in enumerate(moments):
        shift = (place * pitch - (low + high)[place, 0] / 2, 0)
        for person in range(clip.shape[1]):
            drawn = there[place, person][bones].all(1)
            axes.add_collection(
                LineCollection(
                    points[place, person][bones[drawn]] + shift,
                    colors=[colours[joint] for joint in bones[drawn, 0]],
                    linewidths=1.7,
                    linestyles=(0, (2.2, 0.9)) if person else "-",
                    capstyle="butt" if person else "round",
                )
            )
        label = f"{moment + 1}/{len(clip)}"
        axes.annotate(label, (place * pitch, 0), xycoords=("data", "axes fraction"), xytext=(0, -9),
                      textcoords="offset points", ha="center", fontsize=7, color=MUTED)  # fmt: skip
    axes.set_xlim(-0.5 * pitch, (len(moments) - 0.5) * pitch)
    if seen.any():
        axes.set_ylim(bottom - 0.04 * height, bottom + 1.04 * height)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


_NAMES = {"encoder": "pretrained", "random": "random start"}


def _label_ends(axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Names beside the right ends of lines, in the lines' colours, pushed apart where they would overlap."""
    low, high = axes.get_ylim()
    gap = 0.075 * (high - low)
    place = -np.inf
    for value, text, colour in sorted(ends):
        place = max(value, place + gap)
        axes.annotate(
            text,
            (1.015, (place - low) / (high - low)),
            xycoords="axes fraction",
            va="center",
            color=colour,
            fontweight="bold",
            annotation_clip=False,
        )


def _project(values: np.ndarray, seed: int) -> np.ndarray:
    """[N, D] -> [N, 2]."""
    unit = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    reduced = PCA(min(50, *unit.shape), random_state=seed).fit_transform(unit)
    perplexity = min(30.0, (len(values) - 1) / 3)
    return TSNE(
        2, perplexity=perplexity, init="pca", max_iter=500, random_state=seed
    ).fit_transform(reduced)


def _palette(count: int) -> np.ndarray:
    """RGBA [count, 4]."""
    if count <= MOST_NAMED:
        return matplotlib.colormaps["tab10" if count <= 10 else "tab20"](np.arange(count))
    return matplotlib.colormaps["hsv"](np.linspace(0, 0.95, count))


def _name(names: Mapping[int, str], label: int) -> str:
    return names.get(int(label), str(label))
