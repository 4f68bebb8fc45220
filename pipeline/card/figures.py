"""The charts of a data card that count clips: what `contents` says in, matplotlib figures out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.core.arithmetic import ceil_div
from pipeline.pages.style import INK, MUTED, RIGHT, headline, shorten, single, styled

WIDTH = 9.6  # inches; charts of one width have letters of one size on the page
BAR = "#4f7cac"
ROWS = 40  # bars under each other before another column begins
MOST_TICKS = 14
MOST_LETTERS = 30  # of a class name beside a bar


def classes(card: Mapping[str, Any]) -> Figure:
    """Clips of every class, in the order of the labels; classes without clips stand out."""
    rows = []
    for one in card["classes"]:
        name = one["name"]
        if one["label"] is not None:
            name = f"{one['label']}  {name}"
        rows.append((name, one["clips"]))
    columns = ceil_div(len(rows), ROWS)
    height = ceil_div(len(rows), columns)
    with styled(grid=False):
        figure = Figure(figsize=(WIDTH, 0.185 * height + 0.7), layout="constrained")
        panels = figure.subplots(1, columns, squeeze=False, sharex=True)[0]
        most = max(clips for _, clips in rows)
        for place, axes in enumerate(panels):
            _name_bars(axes, rows[place * height : (place + 1) * height], height, most)
        headline(figure, "Clips of each class")
    return figure


def _name_bars(axes: Axes, rows: Sequence[tuple[str, int]], height: int, most: int) -> None:
    """Draw one column of the chart of classes.

    Args:
        axes: of the column.
        rows: name and clips of each class in it.
        height: how many bars the column has place for.
        most: the clips of the largest class of all columns.
    """
    places = np.arange(len(rows))
    names = [shorten(name, MOST_LETTERS) for name, _ in rows]
    counts = [clips for _, clips in rows]
    axes.barh(places, counts, height=0.72, color=BAR)
    axes.set_yticks(places, names, fontsize=7.5, color=INK)
    # The first is on top, and bars are equally thick in a column that is not full.
    axes.set_ylim(height - 0.4, -0.6)
    axes.set_xlim(0, 1.15 * max(most, 1))
    for place, clips in enumerate(counts):
        text = f" {clips:,}"
        colour = MUTED
        if not clips:
            text = " none"
            colour = RIGHT
        axes.text(clips, place, text, va="center", fontsize=7, color=colour)
    axes.spines[:].set_visible(False)
    axes.set_xticks([])


def recordings(card: Mapping[str, Any]) -> Figure:
    """Clips by subject, camera and setup, where the data set numbers them, and by persons."""
    panels = []
    for name in ("subject", "camera", "setup"):
        rows = [(one[name], one["clips"]) for one in card[f"{name}s"]]
        if any(value is not None for value, _ in rows):
            panels.append((name, rows))
    panels.append(("persons", [(one["persons"], one["clips"]) for one in card["persons"]]))
    # A panel with more bars is wider, but its share of the figure has an end.
    ratios = [8 + min(len(rows), 36) for _, rows in panels]
    with styled():
        figure = Figure(figsize=(WIDTH, 2.5), layout="constrained")
        drawn = figure.subplots(1, len(panels), width_ratios=ratios, squeeze=False)[0]
        for axes, (name, rows) in zip(drawn, panels, strict=True):
            _number_bars(axes, rows)
            axes.set_xlabel(name)
        headline(figure, f"Clips by {', '.join(name for name, _ in panels)}")
    return figure


def _number_bars(axes: Axes, rows: Sequence[tuple[int | None, int]]) -> None:
    """Draw one panel of the chart of recordings: clips by a number, "?" where it is unknown."""
    places = np.arange(len(rows))
    counts = [clips for _, clips in rows]
    names = ["?" if value is None else str(value) for value, _ in rows]
    axes.bar(places, counts, width=0.75, color=BAR)
    step = ceil_div(len(rows), MOST_TICKS)
    axes.set_xticks(places[::step], names[::step])
    # A few bars stay as narrow as if there were four.
    margin = max(0, 4 - len(rows)) / 2
    axes.set_xlim(-0.6 - margin, len(rows) - 0.4 + margin)
    axes.set_ylim(0, 1.12 * max(counts))
    axes.grid(axis="x", visible=False)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(lambda clips, _: f"{clips:,.0f}")
    axes.spines["left"].set_visible(False)


def lengths(card: Mapping[str, Any]) -> Figure:
    """How long clips are: frames below, seconds above."""
    held = card["lengths"]
    fps = card["store"]["fps"]
    edges = np.array(held["edges"]) - 0.5  # lengths are whole numbers, so bars end between them
    figure, axes = single(WIDTH, 2.7, "Lengths of the clips")
    with styled():
        axes.bar(
            edges[:-1],
            held["clips"],
            width=np.diff(edges),
            align="edge",
            color=BAR,
            edgecolor="white",
            linewidth=0.6,
        )
        median = held["median"]
        axes.axvline(median, color=INK, linewidth=1)
        where = ("data", "axes fraction")
        axes.annotate(f" median {median:g}", (median, 1), xycoords=where, va="top", fontsize=8)
        axes.set_xlabel("frames")
        axes.set_ylabel("clips")
        axes.grid(axis="x", visible=False)
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        there_and_back = (lambda frames: frames / fps, lambda seconds: seconds * fps)
        above = axes.secondary_xaxis("top", functions=there_and_back)
        above.set_xlabel(f"seconds at {fps:g} frames a second", fontsize=8)
        above.spines[:].set_visible(False)
    return figure
