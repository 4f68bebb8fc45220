"""The plot of a table: accuracy over cost. The only module here that knows matplotlib."""

import hashlib
import io
import json
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from pipeline.pages.style import INK, LEFT, MUTED, letters, single, styled
from pipeline.runs.metric_names import GFLOPS, LINEAR
from pipeline.tables.rows import RANDOM, Row, Table
from pipeline.tables.text import percent

# Of the height of the plot: names of points that cost the same stand at least so far apart.
NAME_GAP = 0.042
# Of the largest cost: so far is a name from its point.
NAME_OFFSET = 0.04


def plot(table: Table) -> bytes:
    """Return the plot of a table as a PNG file, stamped with what it shows (see `stamp`)."""
    figure, axes = single(8.2, 5.2, f"Accuracy and cost: {table.name}")
    with styled():
        _draw_points(axes, table.rows)
        _write_names(axes, table.rows)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_xlabel("GFLOPs of inference, a clip")
        axes.set_ylabel("linear top-1, mean and deviation over seeds")
    return _png(figure, stamp(table))


def stamp(table: Table) -> str:
    """Return a hash of all that the plot shows.

    The file of a plot carries it, so that an old plot is recognised whatever version of matplotlib
    drew it.
    """
    shown: list[object] = [table.name]
    for row in table.rows:
        shown.append([row.variant, row.costs[GFLOPS], *row.figures[LINEAR]])
    return hashlib.sha256(json.dumps(shown).encode()).hexdigest()


def _png(figure: Figure, description: str) -> bytes:
    buffer = io.BytesIO()
    # matplotlib makes the ticks only while it draws, so the style must hold here too.
    with styled():
        figure.savefig(buffer, format="png", metadata={"Description": description})
    return buffer.getvalue()


def _draw_points(axes: Axes, rows: Sequence[Row]) -> None:
    """Draw a point a row, with its deviation over seeds."""
    for number, row in enumerate(rows):
        colour = INK
        if number == 0:
            colour = LEFT
        elif row.variant == RANDOM:
            colour = MUTED
        accuracy = row.figures[LINEAR]
        axes.errorbar(
            row.costs[GFLOPS],
            accuracy.mean,
            accuracy.deviation or None,
            fmt="o",
            color=colour,
            elinewidth=0.8,
            markersize=5,
        )
    # The names of the most expensive rows need room on the right.
    axes.set_xlim(0, 1.25 * max(row.costs[GFLOPS] for row in rows))
    axes.margins(y=0.1)


def _write_names(axes: Axes, rows: Sequence[Row]) -> None:
    """Write the name of each row beside its point.

    Names of equal cost stand in one column. They are placed from the lowest accuracy upwards, and
    pushed up where they would overlap:

        point at 86.4   ->  umurl  at 86.4
        point at 86.6   ->  early  at 87.1   (one gap above the name below it)
    """
    costs = np.array([row.costs[GFLOPS] for row in rows])
    means = np.array([row.figures[LINEAR].mean for row in rows])
    low, high = axes.get_ylim()
    gap = NAME_GAP * (high - low)
    # The height of the uppermost name so far, by cost.
    heights: dict[float, float] = {}
    for number in np.argsort(means, kind="stable"):
        # Costs that differ less than a point is wide count as equal.
        column = float(f"{costs[number]:.2g}")
        height = max(means[number], heights.get(column, -math.inf) + gap)
        heights[column] = height
        # The names of rows that are cheaper than the reference stand on the left.
        is_left = bool(costs[number] < 0.95 * costs[0])
        offset = NAME_OFFSET * costs.max()
        if is_left:
            offset = -offset
        _write_name(
            axes,
            rows[number],
            place=(costs[number] + offset, height),
            is_left=is_left,
            is_reference=number == 0,
        )
    # Names that were pushed up may stand above all points.
    axes.set_ylim(low, max(high, *[height + gap for height in heights.values()]))


def _write_name(
    axes: Axes, row: Row, *, place: tuple[float, float], is_left: bool, is_reference: bool
) -> None:
    """Write a row's name and accuracy at `place`, with a line to its point."""
    accuracy = row.figures[LINEAR]
    axes.annotate(
        f"{letters(row.variant)}  {percent(accuracy)}",
        (row.costs[GFLOPS], accuracy.mean),
        xytext=place,
        ha="right" if is_left else "left",
        va="center",
        fontsize=8,
        fontweight="bold" if is_reference else None,
        color=LEFT if is_reference else INK,
        arrowprops={
            "arrowstyle": "-",
            "color": MUTED,
            "linewidth": 0.5,
            "relpos": (float(is_left), 0.5),
            "shrinkB": 3,
        },
    )
