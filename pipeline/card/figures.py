"""The charts of a data card: what `contents` says in, matplotlib figures out."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from models.skeleton import SkeletonLayout
from pipeline.card.statistics import bones as bones_of
from pipeline.pages.style import (
    GRID,
    INK,
    LEFT,
    MIDDLE,
    MUTED,
    RIGHT,
    STYLE,
    headline,
    shorten,
    single,
)
from pipeline.report.figures import joint_colours

WIDTH = 9.6  # inches: charts under each other have letters of one size
BAR = "#4f7cac"
ROWS = 40  # bars under each other before a second column begins
MOST_TICKS = 14
SIDES = {"left": LEFT, "right": RIGHT}


def classes(card: Mapping[str, Any]) -> Figure:
    """Clips of every class, in the order of the labels; classes without clips stand out."""
    rows = [
        (one["name"] if one["label"] is None else f"{one['label']}  {one['name']}", one["clips"])
        for one in card["classes"]
    ]
    columns = -(-len(rows) // ROWS)
    height = -(-len(rows) // columns)
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(WIDTH, 0.185 * height + 0.7), layout="constrained")
        panels = figure.subplots(1, columns, squeeze=False, sharex=True)[0]
        most = max(number for _, number in rows)
        for place, axes in enumerate(panels):
            _name_bars(axes, rows[place * height : (place + 1) * height], height, most)
        headline(figure, "Clips of each class")
    return figure


def _name_bars(axes: Axes, rows: Sequence[tuple[str, int]], height: int, most: int) -> None:
    places = np.arange(len(rows))
    numbers = [number for _, number in rows]
    axes.barh(places, numbers, height=0.72, color=BAR)
    axes.set_yticks(places, [shorten(name, 30) for name, _ in rows], fontsize=7.5, color=INK)
    axes.set_ylim(height - 0.4, -0.6)  # the first on top, bars equally thick in every column
    axes.set_xlim(0, 1.15 * max(most, 1))
    for place, number in enumerate(numbers):
        text = f" {number:,}" if number else " none"
        axes.text(number, place, text, va="center", fontsize=7, color=MUTED if number else RIGHT)
    axes.spines[:].set_visible(False)
    axes.set_xticks([])


def recordings(card: Mapping[str, Any]) -> Figure:
    """Clips of every subject, camera and setup, where the data set numbers them, and of every number of persons."""
    panels = [
        (name, [(one[name], one["clips"]) for one in card[f"{name}s"]])
        for name in ("subject", "camera", "setup")
    ]
    panels = [(name, rows) for name, rows in panels if any(value is not None for value, _ in rows)]
    panels.append(("persons", [(one["persons"], one["clips"]) for one in card["persons"]]))
    with matplotlib.rc_context(STYLE):
        ratios = [8 + min(len(rows), 36) for _, rows in panels]
        figure = Figure(figsize=(WIDTH, 2.5), layout="constrained")
        for axes, (name, rows) in zip(
            figure.subplots(1, len(panels), width_ratios=ratios, squeeze=False)[0],
            panels,
            strict=True,
        ):
            _number_bars(axes, rows)
            axes.set_xlabel(name)
        headline(figure, f"Clips by {', '.join(name for name, _ in panels)}")
    return figure


def _number_bars(axes: Axes, rows: Sequence[tuple[int | None, int]]) -> None:
    places = np.arange(len(rows))
    axes.bar(places, [number for _, number in rows], width=0.75, color=BAR)
    step = -(-len(rows) // MOST_TICKS)
    axes.set_xticks(
        places[::step], ["?" if value is None else str(value) for value, _ in rows][::step]
    )
    axes.set_xlim(-0.6 - max(0, 4 - len(rows)) / 2, len(rows) - 0.4 + max(0, 4 - len(rows)) / 2)
    axes.set_ylim(0, 1.12 * max(number for _, number in rows))
    axes.grid(axis="x", visible=False)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(lambda clips, _: f"{clips:,.0f}")
    axes.spines["left"].set_visible(False)


def lengths(card: Mapping[str, Any]) -> Figure:
    """How long clips are: frames below, seconds above."""
    held, fps = card["lengths"], card["store"]["fps"]
    edges = np.array(held["edges"]) - 0.5
    figure, axes = single(WIDTH, 2.7, "Lengths of the clips")
    with matplotlib.rc_context(STYLE):
        axes.bar(
            edges[:-1],
            held["clips"],
            width=np.diff(edges),
            align="edge",
            color=BAR,
            edgecolor="white",
            linewidth=0.6,
        )
        axes.axvline(held["median"], color=INK, linewidth=1)
        axes.annotate(
            f" median {held['median']:g}",
            (held["median"], 1),
            xycoords=("data", "axes fraction"),
            va="top",
            fontsize=8,
        )
        axes.set_xlabel("frames")
        axes.set_ylabel("clips")
        axes.grid(axis="x", visible=False)
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        seconds = axes.secondary_xaxis(
            "top", functions=(lambda frames: frames / fps, lambda time: time * fps)
        )
        seconds.set_xlabel(f"seconds at {fps:g} frames a second", fontsize=8)
        seconds.spines[:].set_visible(False)
    return figure


def missing(card: Mapping[str, Any]) -> Figure:
    """How often each joint is missing, of the bodies that are there."""
    shares = card["missing"]["joints"]
    figure, axes = single(WIDTH, 0.17 * len(shares) + 0.9, "Missing joints")
    places = np.arange(len(shares))
    with matplotlib.rc_context(STYLE):
        axes.barh(
            places, list(shares.values()), height=0.7, color=[_side_colour(name) for name in shares]
        )
        axes.set_yticks(
            places, [name.replace("_", " ") for name in shares], fontsize=7.5, color=INK
        )
        axes.set_ylim(len(shares) - 0.4, -0.6)
        axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.set_xlabel("of the bodies that are there")
        axes.grid(axis="y", visible=False)
    return figure


def bone_lengths(card: Mapping[str, Any]) -> Figure:
    """Median lengths of each bone over the clips: a dot in the middle, 90 % of the clips a bar, all of them a line."""
    rows = list(dict.fromkeys(_bone(one) for one in card["bones"]))
    figure, axes = single(
        WIDTH, 0.27 * len(rows) + 1.1, "Bone lengths: a clip's median, over all clips"
    )
    with matplotlib.rc_context(STYLE):
        for one in card["bones"]:
            side = _side(one["joint"])
            place = rows.index(_bone(one)) + {"left": -0.17, "right": 0.17, None: 0}[side]
            colour = SIDES.get(side, MIDDLE)
            axes.plot(
                [one["least"], one["most"]], [place, place], color=colour, linewidth=0.8, alpha=0.6
            )
            axes.plot(
                [one["low"], one["high"]],
                [place, place],
                color=colour,
                linewidth=4,
                alpha=0.45,
                solid_capstyle="butt",
            )
            axes.plot(one["metres"], place, "o", color=colour, markersize=4)
        axes.set_yticks(range(len(rows)), rows, fontsize=7.5, color=INK)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xscale("log")
        low, high = (
            min(one["least"] for one in card["bones"]),
            max(one["most"] for one in card["bones"]),
        )
        axes.set_xlim(max(low, 0.003) / 1.1, high * 1.1)
        axes.xaxis.set_major_locator(
            FixedLocator([0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50])
        )
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlabel("metres (logarithmic)")
        axes.grid(axis="y", visible=False)
        for place, (side, colour) in enumerate(SIDES.items()):
            axes.annotate(
                side,
                (1, 1),
                xycoords="axes fraction",
                xytext=(-32 + 34 * place, 4),
                textcoords="offset points",
                ha="right",
                color=colour,
                fontweight="bold",
                fontsize=8,
            )
    return figure


def _bone(one: Mapping[str, Any]) -> str:
    side = _side(one["joint"])
    return "-".join(
        name.removeprefix(f"{side}_").replace("_", " ") for name in (one["joint"], one["parent"])
    )


def _side(joint: str) -> str | None:
    return next((side for side in SIDES if joint.startswith(f"{side}_")), None)


def _side_colour(joint: str) -> str:
    return SIDES.get(_side(joint), MIDDLE)


def joint_names(frame: np.ndarray, layout: SkeletonLayout, title: str) -> Figure:
    """One body [V, 3] as recorded, x to the right and y up, with the number and name of every joint beside it."""
    colours = joint_colours(layout)
    seen = (frame != 0).any(-1)
    pairs = np.array(bones_of(layout))
    figure, axes = single(WIDTH, 5.6, title)
    with matplotlib.rc_context(STYLE):
        drawn = pairs[seen[pairs].all(1)]
        axes.add_collection(
            LineCollection(
                frame[drawn][..., :2],
                colors=[colours[joint] for joint in drawn[:, 0]],
                linewidths=2.4,
            )
        )
        axes.scatter(
            *frame[seen, :2].T, c=[colours[joint] for joint in np.flatnonzero(seen)], s=22, zorder=3
        )
        low, high = frame[seen, :2].min(0), frame[seen, :2].max(0)
        height = max(high[1] - low[1], 0.5)
        middle = (low[0] + high[0]) / 2
        for right in (False, True):
            joints = [
                joint for joint in np.flatnonzero(seen) if (frame[joint, 0] > middle) == right
            ]
            joints.sort(key=lambda joint: frame[joint, 1])
            edge = (high[0] + 0.2 * height) if right else (low[0] - 0.2 * height)
            levels = _apart(frame[joints, 1], 0.052 * height)
            for joint, level in zip(joints, levels, strict=True):
                axes.plot(
                    [frame[joint, 0], edge],
                    [frame[joint, 1], level],
                    color=GRID,
                    linewidth=0.8,
                    zorder=0,
                )
                name = f"{joint} {layout.joints[joint].replace('_', ' ')}"
                axes.text(
                    edge,
                    level,
                    f" {name}" if right else f"{name} ",
                    ha="left" if right else "right",
                    va="center",
                    fontsize=8,
                    color=colours[joint],
                )
        axes.set_aspect("equal")
        axes.set_xlim(low[0] - 0.75 * height, high[0] + 0.75 * height)
        axes.set_ylim(low[1] - 0.12 * height, high[1] + 0.12 * height)
        axes.set_xlabel("x (m)")
        axes.set_ylabel("y (m)")
        axes.grid(visible=False)
    return figure


def _apart(values: np.ndarray, gap: float) -> np.ndarray:
    """Ascending values moved so that neighbours are `gap` apart, as a whole where they were."""
    moved = np.maximum.accumulate(values - gap * np.arange(len(values))) + gap * np.arange(
        len(values)
    )
    return moved - (moved - values).mean() if len(values) else moved
