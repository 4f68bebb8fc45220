"""How figures look: colours, fonts, and the few things that all of them share."""

import io

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, MUTED, GRID = "#1b1f24", "#6b7280", "#e5e7eb"
LEFT, RIGHT, MIDDLE = "#1f5fbf", "#d9622b", "#3b4250"

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.parse_math": False,  # names are shown, never interpreted
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


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):  # ticks are made while drawing
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def single(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    """A figure of one chart, sizes in inches."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots()
        axes.spines["left"].set_visible(False)
        headline(figure, title)
    return figure, axes


def headline(figure: Figure, title: str) -> None:
    """Say what the whole figure shows, within `rc_context(STYLE)`."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold", color=INK)


def shorten(text: str, most: int) -> str:
    """Text of at most so many letters."""
    return text if len(text) <= most else text[: most - 1] + "\u2026"
