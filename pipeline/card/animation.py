"""Clips as animated GIFs, seen from two sides, coordinates as recorded: wrong axes and joints show at a glance."""

import io

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure
from PIL import Image

from models.skeleton import SkeletonLayout
from pipeline.card.statistics import HEAD, bones
from pipeline.pages.style import INK, LEFT, MUTED, RIGHT, STYLE, shorten
from pipeline.report.figures import joint_colours

# (axis to the right, axis up, what the view is called), axes by number.
VIEWS = ((0, 1, "front"), (2, 1, "side"))
MOST_FRAMES = 36
MOST_BYTES = 300_000
COLOURS = 16
WIDTH, HEIGHT, DPI = 5.2, 3.1, 90
MOST_LETTERS = 72


def gif(clip: np.ndarray, title: str, layout: SkeletonLayout, fps: float) -> bytes:
    """A looping GIF of a clip [T, M, V, 3], at the speed of the recording, of at most MOST_FRAMES of its frames.

    Left limbs blue, right ones orange, joints as dots, the head as a large one; persons after the first are paler.
    Joints that are exactly zero are missing and not drawn. Less than MOST_BYTES, if need be with fewer frames.
    """
    moments = np.unique(np.linspace(0, len(clip) - 1, MOST_FRAMES).round().astype(int))
    points = np.where((clip != 0).any(-1, keepdims=True), clip, np.nan)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI)
        canvas = FigureCanvasAgg(figure)
        panels = figure.subplots(1, len(VIEWS))
        figure.subplots_adjust(left=0.1, right=0.985, bottom=0.14, top=0.79, wspace=0.3)
        drawn = [
            _View(axes, across, up, name, points, layout)
            for axes, (across, up, name) in zip(panels, VIEWS, strict=True)
        ]
        figure.text(
            0.015, 0.935, shorten(title, MOST_LETTERS), fontsize=8.5, color=INK, fontweight="bold"
        )
        figure.text(0.82, 0.875, "left", fontsize=8.5, color=LEFT, fontweight="bold", ha="right")
        figure.text(0.83, 0.875, "right", fontsize=8.5, color=RIGHT, fontweight="bold")
        clock = figure.text(0.015, 0.875, "", fontsize=8, color=MUTED)
        images = []
        for moment in moments:
            for view in drawn:
                view.show(points[moment])
            clock.set_text(f"frame {moment + 1} of {len(clip)},  {moment / fps:.1f} s")
            canvas.draw()
            images.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]))
    seconds = len(clip) / fps
    while len(data := _encode(images, seconds)) >= MOST_BYTES and len(images) > 1:
        images = images[::2]
    return data


class _View:
    """One view of all persons: the same metres to the right and up, wide enough for the whole clip."""

    def __init__(
        self,
        axes: Axes,
        across: int,
        up: int,
        name: str,
        points: np.ndarray,
        layout: SkeletonLayout,
    ):
        self.across, self.up = across, up
        self.pairs = np.array(bones(layout))
        colours = joint_colours(layout)
        sizes = [50 if name == HEAD else 7 for name in layout.joints]
        self.persons: list[tuple[LineCollection, PathCollection]] = []
        for person in range(points.shape[1]):
            strength = 1 if person == 0 else 0.5
            lines = LineCollection(
                [],
                colors=[colours[joint] for joint in self.pairs[:, 0]],
                linewidths=2,
                alpha=strength,
            )
            axes.add_collection(lines)
            places = np.zeros(len(colours))
            dots = axes.scatter(places, places, c=colours, s=sizes, alpha=strength, zorder=3)
            self.persons.append((lines, dots))
        centre, span = _frame(points)
        axes.set_xlim(centre[across] - span / 2, centre[across] + span / 2)
        axes.set_ylim(centre[up] - span / 2, centre[up] + span / 2)
        axes.set_aspect("equal")
        letters = "xyz"
        axes.set_title(
            f"{name}: {letters[across]} and {letters[up]}", fontsize=8, color=MUTED, pad=3
        )
        axes.set_xlabel(f"{letters[across]} (m)", labelpad=1, fontsize=8)
        axes.set_ylabel(f"{letters[up]} (m)", labelpad=0, fontsize=8)
        axes.tick_params(labelsize=7)
        axes.locator_params(nbins=5)

    def show(self, frame: np.ndarray) -> None:
        """Move to a frame [M, V, 3]; what is missing is NaN, which is not drawn."""
        for (lines, dots), person in zip(
            self.persons, frame[..., [self.across, self.up]], strict=True
        ):
            lines.set_segments(person[self.pairs])
            dots.set_offsets(person)


def _frame(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Middle and size in metres of the cube that holds a clip, but for the farthest hundredth of its joints."""
    seen = points[~np.isnan(points).any(-1)]
    if not len(seen):
        return np.zeros(3), 2.0
    low, high = np.percentile(seen, [0.5, 99.5], axis=0)
    return (low + high) / 2, max(1.2 * float((high - low).max()), 1.0)


def _encode(images: list[Image.Image], seconds: float) -> bytes:
    """A GIF that takes so long; one palette for all frames, or colours would flicker."""
    colours = np.array(
        images[len(images) // 2].quantize(COLOURS).getpalette()[: 3 * COLOURS]
    ).reshape(-1, 3)
    colours[colours.min(1) > 245] = 255  # quantising makes the paper a little grey
    palette = Image.new("P", (1, 1))
    palette.putpalette(colours.ravel().tolist())
    frames = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    buffer = io.BytesIO()
    # GIF counts hundredths of a second, and viewers do not show less than two.
    duration = max(20, round(100 * seconds / len(images)) * 10)
    frames[0].save(
        buffer,
        "GIF",
        save_all=True,
        append_images=frames[1:],
        duration=duration,
        loop=0,
        optimize=False,
    )
    return buffer.getvalue()
