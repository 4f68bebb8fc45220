"""Which way bodies stand and how large they are: the right verdict on every layout."""

import io
import json
import zipfile

import numpy as np
import pytest
import yaml

from models.skeleton import SkeletonLayout
from pipeline.config.coordinates import CANONICAL, Coordinates
from pipeline.core.errors import UserError
from pipeline.ingest.prepare.coordinates import canonical
from pipeline.store.bodies import Landmarks, measure_bodies
from pipeline.store.coordinate_check import check_bodies, require_declared
from tests.helpers.paths import SHARED_DATA
from tests.helpers.standing import LAYOUTS, LEGS, layout, people


def moved(clips, columns, signs=(1, 1, 1)):
    return [clip[..., columns] * signs for clip in clips]


def pixels(clips):
    """Pixels of a camera of 640 x 480, y down, with a confidence."""
    found = []
    for clip in clips:
        x, y, z = np.moveaxis(clip, -1, 0)
        found.append(np.stack([320 + 600 * x / z, 240 - 600 * y / z, np.full_like(x, 0.9)], -1))
    return found


def check(name, clips, declared=CANONICAL, space="metres"):
    """The verdict on raw clips that are declared so."""
    clips = [canonical(clip, declared).astype(np.float32) for clip in clips]
    return check_bodies(measure_bodies(clips, Landmarks.of(layout(name))), declared, space)


# Kind -> (what it makes of clips in the canonical form, what mends it).
MENDED = {
    "z up": (lambda clips: moved(clips, [0, 2, 1], (-1, 1, 1)), {"up": "z", "depth": "y"}),
    "z down": (lambda clips: moved(clips, [0, 2, 1], (1, 1, -1)), {"up": "-z", "depth": "y"}),
    "y down": (lambda clips: moved(clips, [0, 1, 2], (-1, -1, 1)), {"up": "-y"}),
    "x up": (lambda clips: moved(clips, [1, 0, 2], (1, -1, 1)), {"up": "x"}),
    "cm": (lambda clips: [clip * 100 for clip in clips], {"unit": "cm"}),
    "mm": (lambda clips: [clip * 1000 for clip in clips], {"unit": "mm"}),
    "bodies of 1": (lambda clips: [clip / 8 for clip in clips], {"unit": 8.0}),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_people_who_stand_are_no_warning_on_any_layout(name):
    found = check(name, people(layout(name).joints))
    assert (found.warnings, found.notes) == ([], [])
    assert found.upright == 1 and found.standing[1] > 0.95
    assert 1 < found.size < 2.5 and found.outside == 0 and not found.flat


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("kind", MENDED)
def test_a_wrong_axis_or_unit_is_one_warning_and_its_advice_mends_it(name, kind):
    change, mends = MENDED[kind]
    raw = change(people(layout(name).joints))
    found = check(name, raw)
    assert len(found.warnings) == 1 and not found.notes
    advice = found.warnings[0]
    if kind == "bodies of 1":
        (unit,) = [word for word in advice.split() if word.startswith("data.coordinates.unit=")]
        mends = {"unit": float(unit.partition("=")[2])}
    for key, value in mends.items():
        text = f"{value:g}" if isinstance(value, float) else value
        assert f"data.coordinates.{key}={text} " in advice
    mended = check(name, raw, Coordinates(**mends))
    assert (mended.warnings, mended.notes) == ([], [])


def test_advice_is_given_in_the_axes_of_the_recordings():
    raw = people(layout("kinect_v2").joints)
    # y is up, and it was declared to be x.
    found = check("kinect_v2", raw, Coordinates(up="x", unit="cm"))
    assert "data.coordinates.up=y and" in found.warnings[1]
    assert "data.coordinates.unit=m and" in found.warnings[0]


@pytest.mark.parametrize("name", LAYOUTS)
def test_pixels_and_flat_bodies_look_like_it(name):
    found = check(name, pixels(people(layout(name).joints)))
    assert "look like pixels" in found.warnings[0] and found.flat
    assert "data.coordinates.up=-y" in found.warnings[1]
    flat = [clip * [1, 1, 0] for clip in people(layout(name).joints)]
    found = check(name, flat)
    assert len(found.warnings) == 1
    assert "which way people face cannot be told" in found.warnings[0]
    assert check(name, flat, space="image").warnings == []
    # A reader of images turns y up.
    upside_down = check(name, moved(flat, [0, 1, 2], (1, -1, 1)), space="image")
    assert len(upside_down.warnings) == 1 and "data.coordinates" not in upside_down.warnings[0]


def test_what_cannot_be_told_is_said():
    joints = layout("kinect_v2").joints
    few = check("kinect_v2", people(joints, 9))
    assert not few.warnings and "9 clips show it, 10 are needed" in few.notes[0]
    # People who lie, with the head to any side.
    lying = [clip - clip.mean((0, 1, 2)) for clip in people(joints)]
    random = np.random.default_rng(1)
    for number, clip in enumerate(lying):
        turn = random.uniform(-np.pi, np.pi)
        x, y, z = np.moveaxis(clip, -1, 0)
        across, ahead = np.cos(turn) * y - np.sin(turn) * z, np.sin(turn) * y + np.cos(turn) * z
        lying[number] = np.stack([across, x, ahead], -1)
    found = check("kinect_v2", lying)
    assert not found.warnings
    assert "cannot tell which axis points up: bodies lie, or stand" in found.notes[0]
    nobody = check("kinect_v2", [clip * 0 for clip in people(joints)])
    assert not nobody.warnings and "in none of 24 clips" in nobody.notes[0]
    assert "in none of 0 clips" in check("kinect_v2", []).notes[0]


def test_a_layout_without_legs_cannot_tell():
    legs = [joint for joint in layout("kinect_v2").joints if any(part in joint for part in LEGS)]
    values = yaml.safe_load(LAYOUTS["kinect_v2"].read_text())
    values["joints"] = {name: up for name, up in values["joints"].items() if name not in legs}
    values["mirror"] = [pair for pair in values["mirror"] if pair[0] not in legs]
    upper = SkeletonLayout.build(**values)
    measured = measure_bodies(people(upper.joints), Landmarks.of(upper))
    found = check_bodies(measured, CANONICAL, "metres")
    assert not found.warnings and "the layout has no legs" in found.notes[0]


def test_people_who_sit_or_bend_still_stand_along_y():
    joints = layout("kinect_v1").joints
    legs = [number for number, joint in enumerate(joints) if any(part in joint for part in LEGS)]
    sitting = people(joints)
    for clip in sitting:
        clip[:, :, legs] += [0, 0.4, 0.4]
    bending = people(joints, seed=1)
    for clip in bending:
        up = clip[..., 1] > 0.1
        height = np.where(up, clip[..., 1] - 0.1, 0)
        clip[..., 1] -= height
        clip[..., 2] += height
    assert check("kinect_v1", sitting + bending).warnings == []


def test_single_clips_of_another_size_are_no_warning_and_many_have_no_one_unit():
    raw = people(layout("kinect_v2").joints, 40)
    assert check("kinect_v2", [raw[0] * 100, *raw[1:]]).warnings == []
    mixed = check("kinect_v2", [clip * 100 for clip in raw[:10]] + raw[10:])
    assert "different units, which no one setting mends" in mixed.warnings[0]


def test_a_person_who_comes_late_and_missing_joints_are_measured_where_they_are_seen():
    clips = people(layout("kinect_v2").joints)
    for clip in clips:
        clip[:4] = 0
        clip[6, :, 3] = 0
    found = check("kinect_v2", clips)
    assert found.upright == 1 and not found.warnings


def test_a_store_of_other_coordinates_is_refused_and_an_old_one_is_canonical():
    require_declared("store", {}, CANONICAL)
    declared = Coordinates(up="z", depth="y")
    require_declared("store", {"coordinates": declared.model_dump()}, declared)
    with pytest.raises(UserError, match=r"data\.coordinates\.up=y, z is asked for; ingest"):
        require_declared("store", {}, declared)


def archive(name):
    path = SHARED_DATA / name
    if not path.exists():
        pytest.skip(f"the data set is not there ({path})")
    return zipfile.ZipFile(path)


@pytest.mark.parametrize(
    ("file", "folder"),
    [
        ("nw-ucla.zip", "all_sqe"),
        ("kinder-gator.zip", "kinder-gator"),
        ("kinect20-arrays.zip", "msr-action3d"),
        ("kinect20-arrays.zip", "msr-dailyactivity3d"),
        ("kinect20-arrays.zip", "utkinect"),
    ],
)
def test_real_recordings_are_no_warning(file, folder):
    clips = []
    with archive(file) as data:
        names = [name for name in data.namelist() if name.startswith(folder + "/")]
        for name in sorted(names)[::12]:
            if name.endswith(".json"):
                clip = np.array(json.loads(data.read(name))["skeletons"])
            elif name.endswith(".npy"):
                clip = np.nan_to_num(np.load(io.BytesIO(data.read(name))))
            else:
                continue
            clips.append(clip[:, None].astype(np.float32))
    found = check("kinect_v1", clips)
    assert found.clips > 15 and found.upright > 0.9
    assert (found.warnings, found.notes) == ([], [])
