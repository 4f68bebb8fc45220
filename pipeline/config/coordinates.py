"""What the numbers of recordings mean: which axis points up, where the camera looks, the unit.

Ingest turns every recording into the canonical form: y points up, z away from the camera, in
metres, right-handed. So x points to the left of the camera. Kinects record like this.

    raw axes          up: z, depth: y (motion capture: x to the right, y ahead, z up)
    canonical y       up                 z
    canonical z       depth              y
    canonical x       up x depth         z x y = -x, to the left
"""

from typing import Any, Literal, Self

from pydantic import field_validator, model_validator
from pydantic_core import PydanticCustomError

from pipeline.config.section import Section

Axis = Literal["x", "y", "z", "-x", "-y", "-z"]
NAMES = "xyz"
METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001}
# Far beyond what anyone needs.
MOST_METRES = 1e6


class Coordinates(Section):
    """The axes and the unit of recordings.

    The two axes and the hand give the third axis. For right-handed recordings the way to the
    canonical form is a rotation, which leaves bodies as they are. Only left-handed recordings are
    reflected, because their bodies are mirrored in a right-handed frame.

    Attributes:
        up: the axis that points up, against gravity.
        depth: the axis that points away from the camera. Recordings without a camera name any
            horizontal axis.
        unit: m, cm or mm, or the metres of one unit as a number.
        handed: right if x, y and z follow the right-hand rule, left if they follow the left-hand
            rule, as in Unity and Unreal.
    """

    up: Axis = "y"
    depth: Axis = "z"
    unit: Literal["m", "cm", "mm"] | float = "m"
    handed: Literal["right", "left"] = "right"

    @field_validator("unit", mode="before")
    @classmethod
    def _check_unit(cls, value: Any) -> Any:
        if isinstance(value, str) and value in METRES:
            return value
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0 < value <= MOST_METRES:
            # A ValueError would be shown without the value. One of all kinds would name m only.
            problem = "must be m, cm or mm, or the metres of one unit as a number above 0"
            raise PydanticCustomError("unit", "{problem}", {"problem": problem})
        return value

    @model_validator(mode="after")
    def _check_axes(self) -> Self:
        if self.up[-1] == self.depth[-1]:
            raise ValueError(
                f"up={self.up} and depth={self.depth} are one axis; they must be two of x, y and z"
            )
        return self

    @property
    def metres(self) -> float:
        """The metres of one unit."""
        if isinstance(self.unit, str):
            return METRES[self.unit]
        return self.unit

    @property
    def is_canonical(self) -> bool:
        """True if recordings are in the canonical form already."""
        return self.rows == ((0, 1), (1, 1), (2, 1)) and self.metres == 1

    @property
    def rows(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """The raw axis (from 0) and its sign that become canonical x, y and z."""
        up, up_sign = _parsed(self.up)
        depth, depth_sign = _parsed(self.depth)
        third = 3 - up - depth
        sign = up_sign * depth_sign
        # The cross product up x depth: + for x x y, y x z and z x x.
        if (up + 1) % 3 != depth:
            sign = -sign
        if self.handed == "left":
            sign = -sign
        return (third, sign), (up, up_sign), (depth, depth_sign)

    def raw_axis(self, canonical: str) -> str:
        """Return the name of the raw axis that a canonical axis was made of.

        Args:
            canonical: for example -z.
        """
        number, sign = _parsed(canonical)
        axis, raw_sign = self.rows[number]
        return _named(axis, sign * raw_sign)


def _parsed(axis: str) -> tuple[int, int]:
    """Return the number of an axis and its sign."""
    sign = -1 if axis.startswith("-") else 1
    return NAMES.index(axis[-1]), sign


def _named(axis: int, sign: int) -> str:
    name = NAMES[axis]
    return name if sign > 0 else f"-{name}"


# What recordings are that declare nothing.
CANONICAL = Coordinates()
