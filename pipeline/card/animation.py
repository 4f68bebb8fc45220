"""Clips as animated GIFs, seen from two sides, coordinates as recorded.

Wrong axes and joints in a wrong order show at a glance in a body that moves.
"""

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure
from PIL import Image

from models.skeleton import SkeletonLayout
from pipeline.card.statistics import HEAD
from pipeline.pages.skeletons import joint_colours
from pipeline.pages.style import INK, LEFT, MUTED, RIGHT, shorten, styled

# (axis to the right, axis up, what the view is called), axes by number.
VIEWS = ((0, 1, "front"), (2, 1, "side"))
AXIS_NAMES = "xyz"
MOST_FRAMES = 36  # about as many as an eye needs to see how somebody moves
MOST_BYTES = 300_000  # a page holds six of these and is to open at once
COLOURS = 16
# Inches, and dots to the inch.
WIDTH = 5.2
HEIGHT = 3.1
DPI = 90
MOST_LETTERS = 72  # of the title, on one line

LEAST_SPAN = 1.0  # metres that a view shows at least: the noise of a still joint is not blown up


def gif(clip: np.ndarray, title: str, layout: SkeletonLayout, fps: float) -> bytes:
    """A looping GIF of a clip, at the speed of the recording.

    Left limbs are blue, right ones orange. Joints are dots, the head a large one. Persons after the
    first are paler. A joint that is exactly zero is missing and is not drawn.

    Args:
        clip: [T, M, V, 3], metres.
        title: what the clip is, a line.
        layout: of the joints.
        fps: frames a second.

    Returns:
        The file: at most MOST_FRAMES of the clip's frames, fewer if it would have MOST_BYTES.
    """
    times = np.unique(np.linspace(0, len(clip) - 1, MOST_FRAMES).round().astype(int))
    points = np.where((clip != 0).any(-1, keepdims=True), clip, np.nan)
    with styled():
        figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI)
        canvas = FigureCanvasAgg(figure)
        panels = figure.subplots(1, len(VIEWS))
        figure.subplots_adjust(left=0.1, right=0.985, bottom=0.14, top=0.79, wspace=0.3)
        views = []
        for axes, (across, up, name) in zip(panels, VIEWS, strict=True):
            views.append(_View(axes, across, up, points, layout))
            axes.set_title(
                f"{name}: {AXIS_NAMES[across]} and {AXIS_NAMES[up]}",
                fontsize=8,
                color=MUTED,
                pad=3,
            )
        _write_title(figure, title)
        clock = figure.text(0.015, 0.875, "", fontsize=8, color=MUTED)
        images = []
        for time in times:
            for view in views:
                view.show(points[time])
            clock.set_text(f"frame {time + 1} of {len(clip)},  {time / fps:.1f} s")
            canvas.draw()
            images.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]))
    seconds = len(clip) / fps
    data = _encode(images, seconds)
    # Too large a file loses every second frame until it is small enough; the time that it takes
    # stays the clip's.
    while len(data) >= MOST_BYTES and len(images) > 1:
        images = images[::2]
        data = _encode(images, seconds)
    return data


def _write_title(figure: Figure, title: str) -> None:
    """Write the title and the legend of the colours."""
    shown = shorten(title, MOST_LETTERS)
    figure.text(0.015, 0.935, shown, fontsize=8.5, color=INK, fontweight="bold")
    figure.text(0.82, 0.875, "left", fontsize=8.5, color=LEFT, fontweight="bold", ha="right")
    figure.text(0.83, 0.875, "right", fontsize=8.5, color=RIGHT, fontweight="bold")


class _View:
    """One view of all persons, wide enough for the whole clip, equal metres in both directions.

    Args:
        axes: to draw on.
        across: the axis of the recording that points to the right, by number.
        up: the axis that points up.
        points: the whole clip [T, M, V, 3]; what is missing is NaN.
        layout: of the joints.
    """

    def __init__(
        self, axes: Axes, across: int, up: int, points: np.ndarray, layout: SkeletonLayout
    ) -> None:
        self.across = across
        self.up = up
        self.bones = np.array(layout.bones)
        self.persons: list[tuple[LineCollection, PathCollection]] = []
        for person in range(points.shape[1]):
            strength = 1 if person == 0 else 0.5
            self.persons.append(self._draw_person(axes, layout, strength))
        centre, span = _cube(points)
        axes.set_xlim(centre[across] - span / 2, centre[across] + span / 2)
        axes.set_ylim(centre[up] - span / 2, centre[up] + span / 2)
        axes.set_aspect("equal")
        axes.set_xlabel(f"{AXIS_NAMES[across]} (m)", labelpad=1, fontsize=8)
        axes.set_ylabel(f"{AXIS_NAMES[up]} (m)", labelpad=0, fontsize=8)
        axes.tick_params(labelsize=7)
        axes.locator_params(nbins=5)

    def _draw_person(
        self, axes: Axes, layout: SkeletonLayout, strength: float
    ) -> tuple[LineCollection, PathCollection]:
        """Add the bones and joints of one person, to be moved by `show`."""
        colours = joint_colours(layout)
        bone_colours = [colours[joint] for joint, _ in layout.bones]
        lines = LineCollection([], colors=bone_colours, linewidths=2, alpha=strength)
        axes.add_collection(lines)
        origin = np.zeros(layout.num_joints)
        sizes = [50 if name == HEAD else 7 for name in layout.joints]
        dots = axes.scatter(origin, origin, c=colours, s=sizes, alpha=strength, zorder=3)
        return lines, dots

    def show(self, frame: np.ndarray) -> None:
        """Move to a frame [M, V, 3]; matplotlib does not draw what is NaN."""
        seen = frame[..., [self.across, self.up]]
        for (lines, dots), body in zip(self.persons, seen, strict=True):
            lines.set_segments(body[self.bones])
            dots.set_offsets(body)


def _cube(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre [3] and side in metres of a cube that holds a clip with some space around it.

    The farthest hundredth of the joints counts for nothing, or one wild joint would make the body
    too small to be seen.
    """
    seen = points[~np.isnan(points).any(-1)]
    if not len(seen):
        return np.zeros(3), 2 * LEAST_SPAN
    low, high = np.percentile(seen, [0.5, 99.5], axis=0)
    span = 1.2 * float((high - low).max())
    return (low + high) / 2, max(span, LEAST_SPAN)


def _encode(images: list[Image.Image], seconds: float) -> bytes:
    """A GIF of these images that takes so long."""
    palette = _palette(images[len(images) // 2])
    frames = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    buffer = io.BytesIO()
    # GIF counts hundredths of a second, and viewers do not show a frame for less than two.
    milliseconds = max(20, round(100 * seconds / len(images)) * 10)
    frames[0].save(
        buffer,
        "GIF",
        save_all=True,
        append_images=frames[1:],
        duration=milliseconds,
        loop=0,
        optimize=False,
    )
    return buffer.getvalue()


def _palette(image: Image.Image) -> Image.Image:
    """One palette for all frames, taken from one of them, or the colours would flicker."""
    found = image.quantize(COLOURS).getpalette()
    assert found is not None  # a quantised image has one
    colours = np.array(found[: 3 * COLOURS]).reshape(-1, 3)
    colours[colours.min(1) > 245] = 255  # quantising makes the white paper a little grey
    palette = Image.new("P", (1, 1))
    palette.putpalette(colours.ravel().tolist())
    return palette
