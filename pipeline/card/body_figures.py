"""The charts of a data card about joints and bones. No files, no Ray."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from models.skeleton import SkeletonLayout
from pipeline.card.figures import WIDTH
from pipeline.pages.skeletons import joint_colours
from pipeline.pages.style import GRID, INK, LEFT, MIDDLE, RIGHT, letters, single, styled

# The sides of a body as the names of joints say them.
SIDES = {"left": LEFT, "right": RIGHT}
# How far the bars of left and right bones lie above and below their place.
OFFSETS = {"left": -0.17, "right": 0.17}
# The ticks of a logarithmic axis, metres.
LENGTH_TICKS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)


def missing(card: Mapping[str, Any]) -> Figure:
    """How often each joint is missing, of the bodies that are there."""
    shares = card["missing"]["joints"]
    figure, axes = single(WIDTH, 0.17 * len(shares) + 0.9, "Missing joints")
    places = np.arange(len(shares))
    names = [_plain(joint) for joint in shares]
    colours = [_side_colour(joint) for joint in shares]
    with styled():
        axes.barh(places, list(shares.values()), height=0.7, color=colours)
        axes.set_yticks(places, names, fontsize=7.5, color=INK)
        axes.set_ylim(len(shares) - 0.4, -0.6)
        axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.set_xlabel("of the bodies that are there")
        axes.grid(axis="y", visible=False)
    return figure


def bone_lengths(card: Mapping[str, Any]) -> Figure:
    """Median lengths of each bone over the clips.

    A dot is the middle, a bar holds 90 % of the clips, and a line all of them. The left and the
    right bone share a row.
    """
    bones = card["bones"]
    rows = list(dict.fromkeys(_bone_name(one) for one in bones))  # each once, in order
    title = "Bone lengths: a clip's median, over all clips"
    figure, axes = single(WIDTH, 0.27 * len(rows) + 1.1, title)
    with styled():
        for one in bones:
            offset = OFFSETS.get(_side(one["joint"]), 0)
            _length_marks(axes, one, rows.index(_bone_name(one)) + offset)
        axes.set_yticks(range(len(rows)), rows, fontsize=7.5, color=INK)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xscale("log")
        shortest = min(one["least"] for one in bones)
        longest = max(one["most"] for one in bones)
        axes.set_xlim(max(shortest, 0.003) / 1.1, longest * 1.1)
        axes.xaxis.set_major_locator(FixedLocator(LENGTH_TICKS))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda metres, _: f"{metres:g}")
        axes.set_xlabel("metres (logarithmic)")
        axes.grid(axis="y", visible=False)
        _name_sides(axes)
    return figure


def _length_marks(axes: Axes, one: Mapping[str, Any], place: float) -> None:
    """Draw the line, the bar and the dot of one bone."""
    colour = _side_colour(one["joint"])
    height = [place, place]
    axes.plot([one["least"], one["most"]], height, color=colour, linewidth=0.8, alpha=0.6)
    axes.plot(
        [one["low"], one["high"]],
        height,
        color=colour,
        linewidth=4,
        alpha=0.45,
        solid_capstyle="butt",
    )
    axes.plot(one["metres"], place, "o", color=colour, markersize=4)


def _name_sides(axes: Axes) -> None:
    """Write "left" and "right" in their colours above the right end of a chart."""
    for number, (side, colour) in enumerate(SIDES.items()):
        axes.annotate(
            side,
            (1, 1),
            xycoords="axes fraction",
            xytext=(-32 + 34 * number, 4),
            textcoords="offset points",
            ha="right",
            color=colour,
            fontweight="bold",
            fontsize=8,
        )


def _bone_name(one: Mapping[str, Any]) -> str:
    """The name of a bone without its side: left_wrist and left_elbow give "wrist-elbow"."""
    prefix = f"{_side(one['joint'])}_"
    joint = _plain(one["joint"].removeprefix(prefix))
    parent = _plain(one["parent"].removeprefix(prefix))
    return f"{joint}-{parent}"


def _side(joint: str) -> str:
    """The side that the name of a joint begins with, "" if it begins with none."""
    for side in SIDES:
        if joint.startswith(f"{side}_"):
            return side
    return ""


def _side_colour(joint: str) -> str:
    return SIDES.get(_side(joint), MIDDLE)


def _plain(joint: str) -> str:
    """The name of a joint for people."""
    return letters(joint.replace("_", " "))


def joint_names(body: np.ndarray, layout: SkeletonLayout, title: str) -> Figure:
    """One body as recorded, with the number and name of every joint beside it.

    Args:
        body: [V, 3], metres; x is drawn to the right and y up.
        layout: of the joints.
        title: what the figure shows.
    """
    seen = np.flatnonzero((body != 0).any(-1))
    colours = np.array(joint_colours(layout))
    bones = np.array(layout.bones)
    drawn = bones[np.isin(bones, seen).all(1)]
    low = body[seen, :2].min(0)
    high = body[seen, :2].max(0)
    height = max(high[1] - low[1], 0.5)
    figure, axes = single(WIDTH, 5.6, title)
    with styled():
        lines = LineCollection(
            body[drawn][..., :2], colors=colours[drawn[:, 0]].tolist(), linewidths=2.4
        )
        axes.add_collection(lines)
        axes.scatter(body[seen, 0], body[seen, 1], c=colours[seen].tolist(), s=22, zorder=3)
        # Names stand in a column on the side of the body that their joint is on.
        on_right = body[seen, 0] > (low[0] + high[0]) / 2
        gap = 0.052 * height  # about a line of letters
        _name_column(axes, body, seen[~on_right], layout, low[0] - 0.2 * height, "right", gap)
        _name_column(axes, body, seen[on_right], layout, high[0] + 0.2 * height, "left", gap)
        axes.set_aspect("equal")
        axes.set_xlim(low[0] - 0.75 * height, high[0] + 0.75 * height)
        axes.set_ylim(low[1] - 0.12 * height, high[1] + 0.12 * height)
        axes.set_xlabel("x (m)")
        axes.set_ylabel("y (m)")
        axes.grid(visible=False)
    return figure


def _name_column(
    axes: Axes,
    body: np.ndarray,
    joints: np.ndarray,
    layout: SkeletonLayout,
    edge: float,
    align: str,
    gap: float,
) -> None:
    """Write the names of joints under each other, each with a thin line to its joint.

    Args:
        axes: to write on.
        body: [V, 3].
        joints: numbers of the joints to name.
        layout: of the joints.
        edge: x of the side of the column that is next to the body.
        align: "left" where the column begins at the edge, "right" where it ends there.
        gap: metres between two names.
    """
    joints = joints[np.argsort(body[joints, 1], kind="stable")]
    levels = _apart(body[joints, 1], gap)
    colours = joint_colours(layout)
    for joint, level in zip(joints.tolist(), levels, strict=True):
        x, y = body[joint, :2]
        axes.plot([x, edge], [y, level], color=GRID, linewidth=0.8, zorder=0)
        name = f"{joint} {_plain(layout.joints[joint])}"
        text = f" {name}" if align == "left" else f"{name} "
        axes.text(edge, level, text, ha=align, va="center", fontsize=8, color=colours[joint])


def _apart(values: np.ndarray, gap: float) -> np.ndarray:
    """Move ascending values so that neighbours are at least `gap` apart.

    Their mean stays where it was, so that the names stay beside the body.
    """
    if not len(values):
        return values
    steps = gap * np.arange(len(values))
    moved = np.maximum.accumulate(values - steps) + steps
    return moved - (moved - values).mean()
