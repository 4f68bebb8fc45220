"""The axes and the unit of recordings, and the way from them to the canonical form."""

from itertools import product

import numpy as np
import pytest
import yaml

from pipeline.config.compose import load
from pipeline.config.coordinates import CANONICAL, Coordinates
from pipeline.config.root import check, to_yaml
from pipeline.core.errors import ConfigError

AXES = ("x", "y", "z", "-x", "-y", "-z")
PAIRS = [(up, depth) for up, depth in product(AXES, AXES) if up[-1] != depth[-1]]


def vector(axis):
    """The raw direction of that name."""
    found = np.zeros(3)
    found["xyz".index(axis[-1])] = -1 if axis.startswith("-") else 1
    return found


def matrix(declared):
    """What takes raw columns to canonical ones."""
    rows = np.zeros((3, 3))
    for number, (axis, sign) in enumerate(declared.rows):
        rows[number, axis] = sign
    return rows


@pytest.mark.parametrize(("up", "depth"), PAIRS)
def test_every_pair_is_a_rotation_and_left_hands_a_reflection(up, depth):
    for handed, determinant in (("right", 1), ("left", -1)):
        turn = matrix(Coordinates(up=up, depth=depth, handed=handed))
        assert (turn @ vector(up)).tolist() == [0, 1, 0]
        assert (turn @ vector(depth)).tolist() == [0, 0, 1]
        assert round(np.linalg.det(turn)) == determinant


@pytest.mark.parametrize(("up", "depth"), PAIRS)
def test_a_canonical_axis_is_named_as_the_recordings_have_it(up, depth):
    declared = Coordinates(up=up, depth=depth)
    assert declared.raw_axis("y") == up
    assert declared.raw_axis("z") == depth
    for axis in AXES:
        named = vector(declared.raw_axis(axis))
        assert (matrix(declared) @ named == vector(axis)).all()


def test_known_systems():
    # Motion capture: x to the right, y ahead, z up. Its x becomes the left, which is -x.
    assert Coordinates(up="z", depth="y").rows == ((0, -1), (2, 1), (1, 1))
    # OpenCV and MediaPipe: x to the right, y down, z away: half a turn about z.
    assert Coordinates(up="-y").rows == ((0, -1), (1, -1), (2, 1))
    # Unity: x to the right, y up, z away follows the left hand.
    assert Coordinates(handed="left").rows == ((0, -1), (1, 1), (2, 1))
    assert CANONICAL.is_canonical
    for other in ({"handed": "left"}, {"unit": "cm"}, {"depth": "-z"}, {"up": "x"}):
        assert not Coordinates(**other).is_canonical
    assert Coordinates(unit=1.0).is_canonical


def test_units():
    metres = [Coordinates(unit=unit).metres for unit in ("m", "cm", "mm", 0.0254, 2)]
    assert metres == [1, 0.01, 0.001, 0.0254, 2]


@pytest.fixture(scope="module")
def values():
    """The plain values of a configuration whose data set declares some of its coordinates."""
    return yaml.safe_load(to_yaml(load(["data.coordinates.up=-y", "data.coordinates.unit=mm"])))


def changed(values, **coordinates):
    return values | {"data": values["data"] | {"coordinates": coordinates}}


def test_a_data_set_declares_some_and_the_rest_is_canonical(values):
    assert check(values).data.coordinates == Coordinates(up="-y", unit="mm")
    assert check(changed(values)).data.coordinates == CANONICAL


def test_an_older_configuration_has_none_and_a_text_that_nothing_read(values):
    arrays = {"format": "arrays", "table": "clips.csv", "select": {}, "fps": 30.0}
    older = values | {"data": values["data"] | {"reader": arrays | {"axes": "y up"}}}
    del older["data"]["coordinates"]
    data = check(older).data
    assert data.coordinates == CANONICAL
    assert data.reader.model_dump() == arrays | {"label_column": "label"}
    older["data"] |= {"reader": "arrays", "arrays": {**arrays, "axes": "y up"}}
    assert check(older).data == data


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("up", "z", "data.coordinates.up=z and depth=z are one axis"),
        ("depth", "-y", "data.coordinates.up=y and depth=-y are one axis"),
        ("up", "up", "data.coordinates.up='up': input should be 'x', 'y', 'z', '-x', '-y' or '-z'"),
        ("unit", "km", "data.coordinates.unit='km': must be m, cm or mm, or the metres of one"),
        ("unit", 0, "data.coordinates.unit=0: must be"),
        ("unit", -1, "data.coordinates.unit=-1: must be"),
        ("unit", float("inf"), "data.coordinates.unit=inf: must be"),
        ("unit", True, "data.coordinates.unit=True: must be"),
        ("unit", ["m"], r"data.coordinates.unit=\['m'\]: must be"),
        ("handed", "both", "data.coordinates.handed='both': input should be 'right' or 'left'"),
    ],
)
def test_what_cannot_be_is_refused(values, key, value, message):
    with pytest.raises(ConfigError, match=message):
        check(changed(values, **{key: value}))


def test_key_points_in_an_image_have_nothing_to_declare():
    with pytest.raises(ConfigError, match=r"data\.coordinates: 2-D key points"):
        load(["data=pyskl_2d", "data.raw=x", "data.coordinates.unit=cm"])
