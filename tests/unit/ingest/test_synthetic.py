from pathlib import Path

import numpy as np
import pytest

from models.skeleton import SkeletonLayout
from pipeline.config.compose import load
from pipeline.config.coordinates import CANONICAL
from pipeline.ingest.formats import READERS
from pipeline.ingest.prepare import PRESETS, prepare
from pipeline.ingest.synthetic.actions import ACTIONS
from pipeline.ingest.synthetic.body import Person, animate
from pipeline.ingest.synthetic.camera import film
from pipeline.ingest.synthetic.performance import perform
from pipeline.ingest.synthetic.recorder import record
from pipeline.store.bodies import Landmarks, measure_bodies
from pipeline.store.coordinate_check import check_bodies
from tests.helpers.standing import layout

SETTINGS = {"actions": 12, "subjects": 2, "replications": 1, "cameras": 3, "seed": 0, "noise": 0.02}

TWO_PERSON = [name for name, (_, second) in ACTIONS.items() if second]


def read(directory, names):
    return [
        READERS["ntu"]().parse(name, Path(directory, name).read_bytes(), 25)[0] for name in names
    ]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    directory = tmp_path_factory.mktemp("raw")
    return read(directory, record(str(directory), **SETTINGS))


def test_every_action_subject_and_camera_is_recorded(recordings):
    found = {(r.label, r.subject, r.camera, r.replication) for r in recordings}
    assert found == {(a, s, c, 1) for a in range(12) for s in (1, 2) for c in (1, 2, 3)}
    assert len({r.performance for r in recordings}) == 24
    assert all(25 <= r.frames <= 76 for r in recordings)
    assert len({r.frames for r in recordings}) > 10
    assert all(r.body_ids.min() > 2**53 for r in recordings)


def test_two_person_actions_hold_two_persons(recordings):
    names = list(ACTIONS)
    assert sum(name not in TWO_PERSON for name in names[:12]) >= 10
    for recording in recordings:
        _, present = prepare(recording, PRESETS["agcn"], 2)
        assert present == (2 if names[recording.label] in TWO_PERSON else 1)


def test_nothing_is_wrong_with_their_axes_and_their_sizes(recordings):
    clips = [prepare(recording, PRESETS["agcn"], 2)[0] for recording in recordings]
    found = check_bodies(
        measure_bodies(clips, Landmarks.of(layout("kinect_v2"))), CANONICAL, "metres"
    )
    assert (found.warnings, found.notes, found.upright) == ([], [], 1)


def test_the_classes_of_the_configuration_are_the_actions():
    assert load(["data=synthetic"]).data.classes == list(ACTIONS)


def test_a_seed_fixes_every_byte(tmp_path):
    settings = SETTINGS | {"actions": 2, "subjects": 1}

    def content(name, **changed):
        names = record(str(tmp_path / name), **settings | changed)
        return [(n, (tmp_path / name / n).read_bytes()) for n in names]

    first = content("a")
    assert [name for name, _ in first] == sorted(path.name for path in (tmp_path / "a").iterdir())
    assert content("b") == first
    assert content("c", seed=1) != first
    more = dict(content("d", subjects=2, actions=3, replications=2))
    assert dict(first).items() <= more.items()


def test_bones_keep_their_length_and_people_stand_on_the_floor():
    skeleton = load(["data=synthetic"]).data.skeleton
    layout = SkeletonLayout.build(**skeleton.model_dump())
    rng = np.random.default_rng(0)
    lengths = []
    for action in ACTIONS:
        people = [Person.draw(rng), Person.draw(rng)]
        scene = perform(action, people, 1, rng)
        assert scene.shape[1:] == (1 + (action in TWO_PERSON), 25, 3)
        # The layout's hand tips hang on the thumbs, which is a way to draw them and no bone.
        joints = [j for j in range(25) if "tip" not in layout.joints[j]]
        bones = np.linalg.norm(scene - scene[:, :, list(layout.parents)], axis=-1)[..., joints]
        assert np.ptp(bones, axis=0).max() < 1e-9
        lengths.append(bones[0, 0])
        feet = scene[..., (14, 18), 1].min(axis=-1)
        assert feet.min() == pytest.approx(0.08)
        assert scene[..., 3, 1].max() < 2.3
    assert np.std(lengths, axis=0)[1] > 0.005


def test_a_person_who_faces_the_camera_has_the_right_shoulder_at_larger_x():
    rng = np.random.default_rng(0)
    scene = animate({}, Person.draw(rng), 40)[:, None]
    seen, state = film(scene, 1, 1, 0.0, rng)
    assert (seen[:, 0, 8, 0] > seen[:, 0, 4, 0] + 0.2).all()
    assert (seen[state > 0][:, 2] > 1).all()
    assert not seen[state == 0].any()
    assert (seen[:, 0, 3, 1] > seen[:, 0, 0, 1] + 0.4).all()


def test_cameras_and_noise_change_what_is_seen():
    rng = np.random.default_rng(0)
    scene = animate({}, Person.draw(rng), 60)[:, None]

    def filmed(camera, noise):
        return film(scene, camera, 1, noise, np.random.default_rng(5))

    clean, state = filmed(2, 0.0)
    noisy, _ = filmed(2, 0.02)
    assert 0.005 < np.abs(noisy - clean).mean() < 0.1
    # From 45 degrees to the side the far shoulder is hidden, from the front neither is.
    assert set(np.unique(state)) <= {0, 1, 2}
    assert (state[:, 0, (4, 8)] == 1).any()
    assert (filmed(1, 0.0)[1][:, 0, (4, 8)] == 2).all()


@pytest.mark.parametrize(
    "wrong", [{"actions": 99}, {"cameras": 4}, {"subjects": 0}, {"replications": 0}]
)
def test_impossible_settings_are_named(tmp_path, wrong):
    with pytest.raises(ValueError, match=f"synthetic.{next(iter(wrong))}="):
        record(str(tmp_path / "x"), **SETTINGS | wrong)
    assert not (tmp_path / "x").exists()


def test_there_is_something_to_learn_across_cameras_and_it_is_not_trivial(tmp_path):
    settings = load(["data=synthetic"]).data.synthetic.model_dump() | {"subjects": 5, "seed": 3}
    recordings = read(tmp_path, record(str(tmp_path), **settings))
    features = np.stack([flat(prepare(r, PRESETS["agcn"], 2)[0]) for r in recordings])
    labels = np.array([r.label for r in recordings])
    test = np.array([r.camera == 1 for r in recordings])
    distance = (features[test] ** 2).sum(1)[:, None] - 2 * features[test] @ features[~test].T
    distance = distance + (features[~test] ** 2).sum(1)
    accuracy = (labels[~test][distance.argmin(1)] == labels[test]).mean()
    assert 0.25 < accuracy < 0.70


def flat(clip):
    """32 frames of a clip, centred, shoulders of the first frame along x (about the vertical)."""
    clip = clip - clip[:, :1, 1:2] * clip.any(-1, keepdims=True)
    x, _, z = clip[0, 0, 8] - clip[0, 0, 4]
    turn = np.array([[x, 0, z], [0, np.hypot(x, z), 0], [-z, 0, x]]) / np.hypot(x, z)
    return (clip[np.linspace(0, len(clip) - 1, 32).round().astype(int)] @ turn.T).ravel()
