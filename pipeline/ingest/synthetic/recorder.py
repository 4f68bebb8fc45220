"""Record every action by every person with every camera."""

import numpy as np

from pipeline.core import storage
from pipeline.ingest.synthetic.actions import ACTIONS
from pipeline.ingest.synthetic.body import Person
from pipeline.ingest.synthetic.camera import film, listed_bodies
from pipeline.ingest.synthetic.performance import CAMERA_YAW, perform
from pipeline.ingest.synthetic.skeleton_file import skeleton_text

# Where Kinect v2's body ids are.
BODY_ID = 72057594037900000
SETUPS = 4

# There must be at least one of each.
MOST = {"actions": len(ACTIONS), "cameras": len(CAMERA_YAW), "subjects": 999, "replications": 999}


def require_limits(**counts: int) -> None:
    """Check the settings of `record` that count something.

    Raises:
        ValueError: there is less than one of something, or more than there can be. The message
            names it.
    """
    for key, value in counts.items():
        if not 1 <= value <= MOST[key]:
            raise ValueError(f"synthetic.{key}={value}: must be 1 to {MOST[key]}")


def record(
    out_dir: str,
    *,
    actions: int,
    subjects: int,
    replications: int,
    cameras: int,
    seed: int,
    noise: float,
) -> list[str]:
    """Record every action by every subject, `replications` times, with every camera.

    A clip depends on the seed and on who, what and where, not on what else is recorded.

    Args:
        out_dir: where the `.skeleton` files go.
        actions: how many of `ACTIONS`, from the first on.
        subjects: how many people. Each also plays the second person for another.
        replications: how often everybody does everything.
        cameras: 1 to 3.
        seed: the same seed writes the same bytes.
        noise: about the standard deviation of a visible joint in metres; five times that hidden.

    Returns:
        The file names, sorted.

    Raises:
        ValueError: see `require_limits`.
        UserError: the directory cannot be written.
    """
    require_limits(actions=actions, subjects=subjects, replications=replications, cameras=cameras)
    storage.make_directory(out_dir)
    people = [Person.draw(np.random.default_rng([seed, subject])) for subject in range(subjects)]
    names = []
    # All of these count from 0, in the names of the files from 1.
    for action, action_name in enumerate(list(ACTIONS)[:actions]):
        for subject in range(subjects):
            setup = 1 + subject % SETUPS
            pair = [people[subject], people[(subject + 1) % subjects]]
            for replication in range(replications):
                key = [seed, subject, action, replication]
                scene = perform(action_name, pair, replication + 1, np.random.default_rng(key))
                for camera in range(cameras):
                    rng = np.random.default_rng([*key, camera])
                    text = _record_one(scene, camera + 1, setup, noise, rng)
                    place = f"S{setup:03}C{camera + 1:03}P{subject + 1:03}"
                    name = f"{place}R{replication + 1:03}A{action + 1:03}.skeleton"
                    storage.write_bytes(storage.join(out_dir, name), text)
                    names.append(name)
    return sorted(names)


def _record_one(
    scene: np.ndarray, camera: int, setup: int, noise: float, rng: np.random.Generator
) -> bytes:
    """Return the file that one camera makes of a performance."""
    joints, state = film(scene, camera, setup, noise, rng)
    frames, persons = joints.shape[:2]
    listed = listed_bodies(frames, persons, rng)
    ids = [BODY_ID + int(rng.integers(0, 99999)) + person for person in range(persons)]
    return skeleton_text(listed, joints, state, ids)
