"""How figures look: colours, fonts, and the few things that all of them share."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.core.shown_text import one_line

INK = "#1b1f24"
MUTED = "#6b7280"
GRID = "#e5e7eb"

# The sides of a body. Blue and orange can be told apart with every kind of colour blindness.
LEFT = "#1f5fbf"
RIGHT = "#d9622b"
MIDDLE = "#3b4250"

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.parse_math": False,  # names are shown as they are; "$" starts no formula
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "savefig.dpi": 150,
    "figure.facecolor": "white",
}


@contextmanager
def styled(grid: bool = True) -> Iterator[None]:
    """A context in which matplotlib draws in this style, with or without grid lines."""
    with matplotlib.rc_context(STYLE | {"axes.grid": grid}), warnings.catch_warnings():
        # Names may be in a script that the font lacks. A box is drawn for each letter, which needs
        # no warning for each.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    # matplotlib makes the ticks only while it draws, so the style must hold here too.
    with styled():
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def single(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    """A figure of one chart.

    Args:
        width: of the figure, in inches.
        height: of the figure, in inches.
        title: what the figure shows.

    Returns:
        The figure and its only axes.
    """
    with styled():
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots()
        axes.spines["left"].set_visible(False)
        headline(figure, title)
    return figure, axes


def headline(figure: Figure, title: str) -> None:
    """Write what the whole figure shows above it. Call it within `styled()`."""
    figure.suptitle(letters(title), x=0.01, ha="left", fontsize=11, fontweight="bold", color=INK)


def letters(text: str) -> str:
    """Return a name as a text of a figure: on one line, without what no font has.

    A blank comes before an underscore, because matplotlib leaves such names out of legends.
    """
    shown = one_line(text)
    if shown.startswith("_"):
        return f" {shown}"
    return shown


def shorten(text: str, most: int) -> str:
    """Return `letters(text)` of at most so many letters; an ellipsis shows the cut."""
    text = letters(text)
    if len(text) <= most:
        return text
    return text[: most - 1] + "\u2026"
