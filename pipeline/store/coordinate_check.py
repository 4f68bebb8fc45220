"""Do bodies stand along y, and are they as large as people? What is said where they do not.

A wrong axis or unit ruins every clip without an error: the alignment turns bodies about the
vertical, and views, distances and speeds are in metres. What is measured is in
`pipeline.store.bodies`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.config.coordinates import METRES, Coordinates
from pipeline.core.console import percent
from pipeline.core.errors import UserError

# Fewer clips may show one person who lies, or one who is tracked badly.
ENOUGH_CLIPS = 10
# A body stands along an axis if this is the cosine to it: at most 45 degrees from it.
ALONG = 0.7
# Cameras look down by up to 60 degrees: then the vertical of their room is that far from y.
UPRIGHT = 0.5
# Bodies stand along another axis if this share of the clips says so.
CLEAR_SHARE = 0.6
# Diagonal of the box around a body, in metres.
SMALLEST = 0.3
LARGEST = 4.0
# With this share of the clips outside of these, the unit is wrong. Single ones are tracked badly.
OUTSIDE = 0.1
# The usual size. A unit is judged by how near it comes.
USUAL = 1.6
# The shortest side of the box over its diagonal. Of people it is above 0.04.
FLAT = 0.005
# Pixels come with a third number that is not flat, but far smaller: a confidence.
FLAT_PIXELS = 0.01
DIRECTIONS = ("x", "y", "z", "-x", "-y", "-z")


@dataclass(frozen=True)
class CoordinateCheck:
    """What the bodies of a store say about its axes and its unit.

    Attributes:
        clips: how many were measured.
        standing: the median direction from the feet to the shoulders. None if it is not known.
        upright: the share of the clips in which bodies stand along y. None likewise.
        size: the median diagonal of the box around a body. None if no size is known.
        outside: the share of the clips with bodies outside of SMALLEST to LARGEST. None likewise.
        flat: whether bodies have no depth.
        warnings: what is wrong, a sentence each, with the setting that mends it.
        notes: what could not be told, a sentence each.
    """

    clips: int
    standing: list[float] | None
    upright: float | None
    size: float | None
    outside: float | None
    flat: bool
    warnings: list[str]
    notes: list[str]

    def record(self) -> dict[str, Any]:
        """Return plain values, as the manifest and the data card keep them."""
        return asdict(self)


def check_bodies(
    measured: Mapping[str, np.ndarray], declared: Coordinates, space: str
) -> CoordinateCheck:
    """Judge the axes and the unit of a store.

    Args:
        measured: see `pipeline.store.bodies.measure_bodies`, of all clips or of some.
        declared: the axes and the unit that ingest was told.
        space: "metres", or "image" for 2-D key points: they are flat, and have no size.
    """
    standing = measured["standing"][~np.isnan(measured["standing"][:, 0])]
    size = measured["size"][~np.isnan(measured["size"])]
    thinnest = measured["thinnest"][~np.isnan(measured["thinnest"])]
    in_space = space == "metres"
    flat = len(thinnest) > 0 and float(np.median(thinnest)) < FLAT
    warnings: list[str] = []
    notes: list[str] = []
    outside = None
    if in_space:
        outside = _outside(size)
        warnings += _size_warnings(size, thinnest, outside, declared)
        if flat and not any("pixels" in warning for warning in warnings):
            warnings.append(
                "bodies are flat, so which way people face cannot be told: all joints lie in one "
                "plane; 2-D key points have readers of their own (docs/data.md)"
            )
    direction = None
    if len(standing):
        direction = _rounded(np.median(standing, axis=0))
    median_size = None
    if len(size):
        median_size = float(np.median(size))
    warning, note = _direction(standing, len(measured["standing"]), declared, in_space)
    warnings += warning
    notes += note
    return CoordinateCheck(
        clips=len(measured["standing"]),
        standing=direction,
        upright=_share(standing[:, 1] > UPRIGHT),
        size=median_size,
        outside=outside,
        flat=flat,
        warnings=warnings,
        notes=notes,
    )


def declared_coordinates(manifest: Mapping[str, Any]) -> Coordinates:
    """Return what was declared of the recordings of a store. Older stores are canonical."""
    return Coordinates.model_validate(manifest.get("coordinates", {}))


def require_declared(uri: str, manifest: Mapping[str, Any], wanted: Coordinates) -> None:
    """Check that a store was made with the coordinates that a configuration declares.

    Its clips are in the canonical form already, so another declaration would change nothing.

    Args:
        uri: of the store.
        manifest: of the store.
        wanted: the section `data.coordinates`.

    Raises:
        UserError: it was made with others.
    """
    previous = declared_coordinates(manifest).model_dump()
    for key, value in wanted.model_dump().items():
        if previous[key] != value:
            raise UserError(
                f"{uri}: clip store was made with data.coordinates.{key}={previous[key]}, "
                f"{value} is asked for; ingest the recordings again, into another data.store"
            )


def _outside(size: np.ndarray) -> float | None:
    return _share((size < SMALLEST) | (size > LARGEST))


def _share(hits: np.ndarray) -> float | None:
    return float(hits.mean()) if len(hits) else None


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 3) for value in values]


def _direction(
    standing: np.ndarray, clips: int, declared: Coordinates, in_space: bool
) -> tuple[list[str], list[str]]:
    """Return the warnings and the notes about which way is up.

    Args:
        standing: [N, 3], of the clips of which it is known.
        clips: how many were measured.
        declared: the axes and the unit that ingest was told.
        in_space: whether there are axes to declare.
    """
    cannot = "cannot tell which axis points up"
    if not len(standing):
        why = f"in none of {clips} clips are shoulders and feet seen, or the layout has no legs"
        return [], [f"{cannot}: {why}"]
    if len(standing) < ENOUGH_CLIPS:
        return [], [f"{cannot}: {len(standing)} clips show it, {ENOUGH_CLIPS} are needed"]
    if np.median(standing[:, 1]) >= UPRIGHT:
        return [], []
    both_ways = np.concatenate([standing, -standing], axis=1)  # [N, 6]: DIRECTIONS
    shares = (both_ways > ALONG).mean(0)
    best = int(shares.argmax())
    if shares[best] < CLEAR_SHARE:
        why = "bodies lie, or stand along different axes"
        return [], [f"{cannot}: {why} (along y in {_percent(shares[1])} of the clips)"]
    axis = DIRECTIONS[best]
    warning = f"bodies stand along {axis}, not y, in {_percent(shares[best])} of the clips"
    if not in_space:
        return [f"{warning}; the reader expects images with y down"], []
    return [f"{warning}; unless people lie there, {_axes_advice(axis, declared)}"], []


def _axes_advice(axis: str, declared: Coordinates) -> str:
    """Say which settings make a canonical axis the one that points up."""
    up = declared.raw_axis(axis)
    settings = f"data.coordinates.up={up}"
    if up[-1] == declared.depth[-1]:
        # The axis that was declared to point up is horizontal.
        settings += f" data.coordinates.depth={declared.up[-1]}"
    return f"set {settings} and ingest again"


def _size_warnings(
    size: np.ndarray, thinnest: np.ndarray, outside: float | None, declared: Coordinates
) -> list[str]:
    """Return the warning about bodies that are too small or too large, if they are.

    Args:
        size: [N], in what should be metres.
        thinnest: [N], see `measure_bodies`.
        outside: see `CoordinateCheck`.
        declared: the axes and the unit that ingest was told.
    """
    if outside is None or outside < OUTSIDE:
        return []
    wrong = size[(size < SMALLEST) | (size > LARGEST)]
    middle = float(np.median(wrong))
    warning = (
        f"bodies of {_short(middle)} m in {_percent(outside)} of the clips, "
        f"not {SMALLEST:g} to {LARGEST:g} m"
    )
    if middle > LARGEST and np.median(thinnest) < FLAT_PIXELS:
        return [
            f"{warning}, and flat: these look like pixels, which no unit mends; 2-D key points "
            "have readers of their own (docs/data.md)"
        ]
    if outside < 1 - OUTSIDE:
        return [f"{warning}; the clips have different units, which no one setting mends"]
    unit, metres = _mending_unit(middle, declared)
    factor = metres / declared.metres
    return [
        f"{warning}; a factor of {factor:g} makes them {_short(middle * factor)} m: "
        f"set data.coordinates.unit={unit} and ingest again"
    ]


def _mending_unit(size: float, declared: Coordinates) -> tuple[str, float]:
    """Return the unit that makes bodies as large as people, and its metres.

    Args:
        size: with the declared unit.
        declared: the axes and the unit that ingest was told.
    """
    raw = size / declared.metres
    fitting = {}
    for name, metres in METRES.items():
        if SMALLEST <= raw * metres <= LARGEST:
            fitting[name] = abs(np.log(raw * metres / USUAL))
    if fitting:
        best = min(fitting, key=fitting.__getitem__)
        return best, METRES[best]
    metres = float(f"{USUAL / raw:.1g}")
    return f"{metres:g}", metres


def _short(metres: float) -> str:
    """Return a length with two digits: 170, not 1.7e+02."""
    return f"{float(f'{metres:.2g}'):g}"


def _percent(share: float) -> str:
    return percent(share, ".0f")
