"""Draws clips as stick figures. No files, no Ray."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from models.skeleton import SkeletonLayout
from pipeline.pages.style import INK, LEFT, MIDDLE, MUTED, RIGHT, headline, letters, styled

# Offset, then lengths of dash and gap in widths of the line.
DASHED = (0, (2.2, 0.9))


def skeletons(
    clips: Sequence[tuple[str, np.ndarray]], layout: SkeletonLayout, title: str, moments: int = 8
) -> Figure:
    """Moments of clips as stick figures, a row for each clip, evenly spaced in time.

    x points to the right and y up. Left limbs are blue, right limbs orange, and other persons than
    the first dashed. A joint that is exactly zero is missing and is not drawn, nor are its bones.

    Args:
        clips: name and coordinates [T, M, V, 3] of each clip.
        layout: of the joints.
        title: what the figure shows.
        moments: how many frames of a clip are drawn, fewer where the clip has fewer.
    """
    with styled(grid=False):
        figure = Figure(figsize=(9.6, 1.75 * len(clips) + 0.4), layout="constrained")
        rows = figure.subplots(len(clips), squeeze=False)[:, 0]
        for axes, (name, clip) in zip(rows, clips, strict=True):
            times = np.linspace(0, len(clip) - 1, moments).round().astype(int)
            _strip(axes, clip, np.unique(times), layout)
            axes.set_title(letters(name), fontsize=9, color=INK, pad=2)
        headline(figure, title)
    return figure


def joint_colours(layout: SkeletonLayout) -> list[str]:
    """A colour for every joint and the bone to its parent, by the side of the body it is on."""
    colours = [MIDDLE] * layout.num_joints
    for left, right in layout.mirror:
        colours[left] = LEFT
        colours[right] = RIGHT
    return colours


def _strip(axes: Axes, clip: np.ndarray, times: np.ndarray, layout: SkeletonLayout) -> None:
    """Draw one row of `skeletons`: the frames `times` of a clip beside each other.

    Every moment is moved sideways into a place of its own, all of one width (the pitch):

        place      0        1        2
        centre x   0      pitch   2 pitch

    Heights stay as recorded, so a jump or a fall shows.
    """
    bones = np.array(layout.bones)
    colours = np.array(joint_colours(layout))
    present = (clip[times] != 0).any(-1)  # [moments, M, V]
    points = np.where(present[..., None], clip[times, ..., :2], np.nan)  # [moments, M, V, 2]
    low, high = _boxes(points, present)
    bottom, height, pitch = _measures(low, high, present.any((1, 2)))
    for place, time in enumerate(times):
        shift = (place * pitch - (low[place, 0] + high[place, 0]) / 2, 0)
        for person in range(clip.shape[1]):
            drawn = bones[present[place, person][bones].all(1)]  # bones with both ends
            lines = LineCollection(
                points[place, person][drawn] + shift,
                colors=colours[drawn[:, 0]].tolist(),
                linewidths=1.7,
                capstyle="round",
            )
            if person > 0:
                lines.set_linestyle(DASHED)
                lines.set_capstyle("butt")  # round ends would close the gaps
            axes.add_collection(lines)
        axes.annotate(
            f"{time + 1}/{len(clip)}",
            (place * pitch, 0),
            xycoords=("data", "axes fraction"),
            xytext=(0, -9),
            textcoords="offset points",
            ha="center",
            fontsize=7,
            color=MUTED,
        )
    axes.set_xlim(-0.5 * pitch, (len(times) - 0.5) * pitch)
    if present.any():
        axes.set_ylim(bottom - 0.04 * height, bottom + 1.04 * height)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _boxes(points: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper corners [moments, 2] of what each moment shows; zeros where nobody is."""
    low = np.zeros((len(points), 2))
    high = np.zeros((len(points), 2))
    seen = present.any((1, 2))
    low[seen] = np.nanmin(points[seen], (1, 2))
    high[seen] = np.nanmax(points[seen], (1, 2))
    return low, high


def _measures(low: np.ndarray, high: np.ndarray, seen: np.ndarray) -> tuple[float, float, float]:
    """Bottom and height of a strip, and its pitch, from the boxes of its moments (see `_strip`)."""
    bottom = 0.0
    height = 1.0
    if seen.any():
        bottom = low[seen, 1].min()
        height = max(high[seen, 1].max() - bottom, 0.5)  # a dot must not fill the strip
    widest = (high - low)[:, 0].max()
    pitch = max(1.35 * widest, 0.8 * height)
    return bottom, height, pitch
