"""Synthetic recordings: procedurally animated people, recorded by three cameras, written as real NTU `.skeleton` files.

They let the whole pipeline run, and learn something, without any data set. What makes them worth learning from: actions
share poses and differ in their dynamics (raise a hand / wave, bow / pick up, sit down / stand up); people differ in
size, proportions, tempo, reach and handedness; cameras see the same performance at the same time from 45 degrees apart,
start and stop at their own moments, and guess the joints that the body hides from them.

Action `Aaaa` is `ACTIONS[aaa - 1]`; two-person actions are those of `TWO_PERSON`. They come in such an order that the
first 6 or more hold two-person actions too.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.core import storage

FPS = 30
MAX_CAMERAS = 3
CAMERA_YAW = (
    0.0,
    -45.0,
    45.0,
)  # degrees; as in NTU, odd replications face camera 2 and even ones camera 3

# 0-based joints of Kinect v2, in an order in which a parent comes before its children.
# joint: (parent, offset from it in metres in the rest pose, part of the body whose proportion scales it)
# A person faces +z with y up, so that +x is to their left; arms hang down.
BONES = {
    1: (0, (0, 0.30, 0), "trunk"),
    20: (1, (0, 0.22, 0), "trunk"),
    2: (20, (0, 0.08, 0), "trunk"),
    3: (2, (0, 0.14, 0.02), "trunk"),
    4: (20, (0.17, -0.03, 0), "shoulders"),
    5: (4, (0, -0.28, 0), "arms"),
    6: (5, (0, -0.25, 0), "arms"),
    7: (6, (0, -0.07, 0), "arms"),
    21: (7, (0, -0.08, 0), "arms"),
    22: (7, (-0.02, -0.03, 0.04), "arms"),
    8: (20, (-0.17, -0.03, 0), "shoulders"),
    9: (8, (0, -0.28, 0), "arms"),
    10: (9, (0, -0.25, 0), "arms"),
    11: (10, (0, -0.07, 0), "arms"),
    23: (11, (0, -0.08, 0), "arms"),
    24: (11, (0.02, -0.03, 0.04), "arms"),
    12: (0, (0.08, -0.04, 0), "shoulders"),
    13: (12, (0, -0.41, 0), "legs"),
    14: (13, (0, -0.40, 0), "legs"),
    15: (14, (0, -0.06, 0.12), "legs"),
    16: (0, (-0.08, -0.04, 0), "shoulders"),
    17: (16, (0, -0.41, 0), "legs"),
    18: (17, (0, -0.40, 0), "legs"),
    19: (18, (0, -0.06, 0.12), "legs"),
}
JOINTS = 25
EXTREMITIES = (7, 11, 15, 19, 21, 22, 23, 24)
BODY_ID = 72057594037900000

# A pose is channels of angles in radians (and `x`, `z`, `jump` in metres), each [T]; "r" is the acting side.
Pose = dict[str, np.ndarray]


def _ramp(u: np.ndarray, start: float, end: float) -> np.ndarray:
    """0 before `start`, 1 after `end`, smooth between."""
    s = np.clip((u - start) / (end - start), 0, 1)
    return s * s * (3 - 2 * s)


def _hold(u: np.ndarray, rise: float, fall: float, width: float = 0.15) -> np.ndarray:
    """Up around `rise`, down around `fall`."""
    return _ramp(u, rise - width, rise + width) * (1 - _ramp(u, fall - width, fall + width))


@dataclass(frozen=True)
class Style:
    """How one performance is done: size of the movement, its number of cycles, and where in the clip it happens."""

    reach: float
    cycles: int
    early: float
    late: float


def _raise_hand(u: np.ndarray, s: Style) -> Pose:
    up = _hold(u, s.early, s.late) * s.reach
    return {"shoulder_abduct_r": 1.5 * up, "elbow_r": 1.2 * up, "shoulder_twist_r": -1.3 * up}


def _wave(u: np.ndarray, s: Style) -> Pose:
    pose = _raise_hand(u, s)
    swing = _hold(u, s.early, s.late) * np.sin(2 * np.pi * s.cycles * u)
    return pose | {"elbow_r": pose["elbow_r"] + 0.45 * swing, "wrist_r": 0.3 * swing}


def _clap(u: np.ndarray, s: Style) -> Pose:
    up = _hold(u, s.early, s.late, 0.12)
    swing = up * np.sin(2 * np.pi * s.cycles * u)
    return {
        **{f"shoulder_flex_{side}": 0.9 * up * s.reach for side in "rl"},
        **{f"elbow_{side}": 1.0 * up for side in "rl"},
        **{f"shoulder_twist_{side}": up * 0.35 + 0.3 * swing for side in "rl"},
    }


def _push(u: np.ndarray, s: Style) -> Pose:
    up = _hold(u, s.early, s.late)
    out = _hold(u, (s.early + s.late) / 2, s.late, 0.08) * s.reach
    return {
        **{f"shoulder_flex_{side}": 0.7 * up + 0.7 * out for side in "rl"},
        **{f"elbow_{side}": 1.7 * up - 1.5 * out for side in "rl"},
        "lean": 0.15 * out,
    }


def _throw(u: np.ndarray, s: Style) -> Pose:
    back = _hold(u, s.early, (s.early + s.late) / 2)
    forth = _hold(u, (s.early + s.late) / 2, s.late, 0.1) * s.reach
    return {
        "shoulder_abduct_r": 1.3 * back,
        "shoulder_flex_r": 1.6 * forth - 0.3 * back,
        "shoulder_twist_r": -1.2 * back,
        "elbow_r": 1.5 * back + 0.2 * forth,
        "twist": 0.4 * forth - 0.4 * back,
    }


def _shake_hands(u: np.ndarray, s: Style) -> Pose:
    up = _hold(u, s.early, s.late) * s.reach
    swing = _hold(u, s.early, s.late) * np.sin(2 * np.pi * s.cycles * u)
    return {
        "shoulder_flex_r": 0.7 * up + 0.12 * swing,
        "elbow_r": 0.7 * up + 0.15 * swing,
        "lean": 0.1 * up,
    }


def _sit(down: np.ndarray) -> Pose:
    return {
        **{f"hip_flex_{side}": 1.4 * down for side in "rl"},
        **{f"knee_{side}": 1.5 * down for side in "rl"},
        **{f"shoulder_flex_{side}": 0.5 * down for side in "rl"},
        "lean": 0.5 * np.sin(np.pi * down) + 0.05 * down,
    }


def _sit_down(u: np.ndarray, s: Style) -> Pose:
    return _sit(_ramp(u, s.early, s.late) * s.reach)


def _stand_up(u: np.ndarray, s: Style) -> Pose:
    return _sit((1 - _ramp(u, s.early, s.late)) * s.reach)


def _bow(u: np.ndarray, s: Style) -> Pose:
    return {"lean": 0.9 * _hold(u, s.early, s.late) * s.reach}


def _pick_up(u: np.ndarray, s: Style) -> Pose:
    down = _hold(u, s.early, s.late) * s.reach
    return {
        "lean": 0.9 * down,
        "shoulder_flex_r": 1.0 * down,
        **{f"hip_flex_{side}": 0.4 * down for side in "rl"},
        **{f"knee_{side}": 0.7 * down for side in "rl"},
    }


def _kick(u: np.ndarray, s: Style) -> Pose:
    swing = _hold(u, (s.early + s.late) / 2, s.late, 0.1) * s.reach
    back = _hold(u, s.early, (s.early + s.late) / 2, 0.12)
    return {
        "hip_flex_r": 1.2 * swing - 0.4 * back,
        "knee_r": 0.9 * back + 0.2 * swing,
        "shoulder_flex_l": 0.5 * swing,
        "lean": -0.15 * swing,
    }


def _jump(u: np.ndarray, s: Style) -> Pose:
    hop = np.abs(np.sin(np.pi * s.cycles * u)) * _hold(u, s.early, s.late)
    crouch = _hold(u, s.early, s.late) - hop
    return {
        "jump": 0.22 * hop * s.reach,
        **{f"knee_{side}": 0.9 * crouch for side in "rl"},
        **{f"hip_flex_{side}": 0.6 * crouch for side in "rl"},
    }


def _walk(u: np.ndarray, s: Style, metres: float) -> Pose:
    go = _hold(u, s.early, s.late)
    stride = go * np.sin(2 * np.pi * s.cycles * u)
    return {
        "hip_flex_r": 0.5 * stride,
        "hip_flex_l": -0.5 * stride,
        "knee_r": 0.4 * go - 0.3 * stride,
        "knee_l": 0.4 * go + 0.3 * stride,
        "shoulder_flex_r": -0.4 * stride,
        "shoulder_flex_l": 0.4 * stride,
        "z": metres * _ramp(u, s.early, s.late) * s.reach,
    }


def _march(u: np.ndarray, s: Style) -> Pose:
    return _walk(u, s, 0.0)


def _walk_towards(u: np.ndarray, s: Style) -> Pose:
    return _walk(u, s, 0.7)


def _walk_apart(u: np.ndarray, s: Style) -> Pose:
    return {**_walk(u, s, 0.7), "z": 0.7 * (1 - _ramp(u, s.early, s.late)) * s.reach}


def _pushed(u: np.ndarray, s: Style) -> Pose:
    back = _ramp(u, (s.early + s.late) / 2, s.late)
    return {
        "z": -0.35 * back,
        "lean": -0.3 * back * (1 - _ramp(u, s.late, 1.2)),
        "knee_r": 0.4 * back,
    }


# name: what the actor does, and what a second person does meanwhile
ACTIONS: dict[
    str, tuple[Callable[[np.ndarray, Style], Pose], Callable[[np.ndarray, Style], Pose] | None]
] = {
    "raise hand": (_raise_hand, None),
    "wave": (_wave, None),
    "clap": (_clap, None),
    "push forward": (_push, None),
    "throw": (_throw, None),
    "shake hands": (_shake_hands, _shake_hands),
    "sit down": (_sit_down, None),
    "stand up": (_stand_up, None),
    "bow": (_bow, None),
    "pick up": (_pick_up, None),
    "kick": (_kick, None),
    "push a person": (_push, _pushed),
    "jump": (_jump, None),
    "march": (_march, None),
    "walk towards each other": (_walk_towards, _walk_towards),
    "walk apart": (_walk_apart, _walk_apart),
}
TWO_PERSON = tuple(name for name, (_, second) in ACTIONS.items() if second)


@dataclass(frozen=True)
class Person:
    """A body and its habits."""

    proportions: dict[str, float]
    tempo: float
    reach: float
    habit: dict[str, float]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Person":
        """A person between about 1.45 and 1.95 m."""
        size = rng.uniform(0.85, 1.15)
        proportions = {
            part: size * rng.uniform(0.93, 1.07) for part in ("trunk", "shoulders", "arms", "legs")
        }
        habit = {
            "lean": rng.normal(0.05, 0.06),
            "head": rng.normal(0, 0.12),
            **{f"shoulder_abduct_{side}": rng.uniform(0.05, 0.3) for side in "rl"},
            **{f"elbow_{side}": rng.uniform(0.05, 0.4) for side in "rl"},
        }
        return cls(proportions, rng.uniform(0.8, 1.3), rng.uniform(0.75, 1.1), habit)


def _rotation(axis: str, angle: np.ndarray) -> np.ndarray:
    """Rotation matrices [T, 3, 3] about x, y or z."""
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    out = np.zeros((len(angle), 3, 3))
    out[:] = np.eye(3)
    out[:, i, i] = out[:, j, j] = np.cos(angle)
    out[:, j, i] = np.sin(angle)
    out[:, i, j] = -np.sin(angle)
    return out


def animate(pose: Pose, person: Person, frames: int) -> np.ndarray:
    """Forward kinematics: channels -> joints [T, 25, 3] in metres; the person stands at the origin and faces +z."""
    zero = np.zeros(frames)

    def angle(channel: str) -> np.ndarray:
        return pose.get(channel, zero) + person.habit.get(channel, 0.0)

    turn = {
        0: _rotation("y", angle("yaw")) @ _rotation("z", angle("roll")),
        1: _rotation("x", angle("lean")) @ _rotation("y", angle("twist")),
        2: _rotation("x", angle("head")) @ _rotation("y", angle("look")),
    }
    for side, sign, shoulder, hip in (("l", 1, 4, 12), ("r", -1, 8, 16)):
        turn[shoulder] = (
            _rotation("z", sign * angle(f"shoulder_abduct_{side}"))
            @ _rotation("x", -angle(f"shoulder_flex_{side}"))
            @ _rotation("y", -sign * angle(f"shoulder_twist_{side}"))
        )
        turn[shoulder + 1] = _rotation("x", -angle(f"elbow_{side}"))
        turn[shoulder + 2] = _rotation("z", sign * angle(f"wrist_{side}"))
        turn[hip] = _rotation("x", -angle(f"hip_flex_{side}"))
        turn[hip + 1] = _rotation("x", angle(f"knee_{side}"))
    joints = np.zeros((frames, JOINTS, 3))
    facing = {0: turn[0]}
    for joint, (parent, offset, part) in BONES.items():
        joints[:, joint] = joints[:, parent] + facing[parent] @ (
            np.array(offset) * person.proportions[part]
        )
        facing[joint] = facing[parent] @ turn[joint] if joint in turn else facing[parent]
    joints[..., 1] += (angle("jump") - joints[:, (14, 18), 1].min(axis=1) + 0.08)[:, None]
    joints[..., 0] += angle("x")[:, None]
    joints[..., 2] += angle("z")[:, None]
    return joints


def _smooth_noise(
    rng: np.random.Generator, frames: int, shape: tuple[int, ...], period: int
) -> np.ndarray:
    """Unit-variance noise [frames, *shape] that changes over `period` frames."""
    knots = rng.normal(size=(frames // period + 2, *shape))
    at = np.arange(frames) / period
    low = at.astype(int)
    part = (at - low).reshape(-1, *[1] * len(shape))
    mixed = knots[low] * (1 - part) + knots[low + 1] * part
    return mixed / np.sqrt(2 / 3)


def _mirrored(pose: Pose) -> Pose:
    """The same with left and right exchanged."""
    swap = {"r": "l", "l": "r"}
    signs = {"twist": -1, "yaw": -1, "roll": -1, "x": -1, "look": -1}
    return {
        (f"{name[:-2]}_{swap[name[-1]]}" if name[-2:] in ("_r", "_l") else name): signs.get(name, 1)
        * values
        for name, values in pose.items()
    }


def perform(
    action: str, people: list[Person], replication: int, rng: np.random.Generator
) -> np.ndarray:
    """Return one performance, [T, M, 25, 3] in metres in the scene (y up, origin on the floor), M 1 or 2.

    Args:
        action: a name of `ACTIONS`.
        people: the actor and the person who would be the second one.
        replication: from 1; decides which camera the actor faces.
        rng: its own source of randomness.
    """
    actor = people[0]
    frames = int(np.clip(rng.normal(58, 5) / actor.tempo, 40, 76))
    early = rng.uniform(0.15, 0.35)
    style = Style(
        actor.reach * rng.uniform(0.7, 1.15),
        int(rng.integers(2, 5)),
        early,
        early + rng.uniform(0.35, 0.5),
    )
    left_handed = rng.random() < 0.3
    u = np.linspace(0, 1, frames)
    bodies = []
    for person, move in zip(people, ACTIONS[action], strict=True):
        if move is None:
            continue
        pose = move(u, style)
        pose = _mirrored(pose) if left_handed else pose
        sway = {
            name: size * _smooth_noise(rng, frames, (), 20)
            for name, size in {
                "yaw": 0.10, "roll": 0.02, "twist": 0.08, "lean": 0.05, "look": 0.25, "x": 0.03,
                "shoulder_flex_r": 0.12, "shoulder_flex_l": 0.12, "elbow_r": 0.15, "elbow_l": 0.15,
                "shoulder_abduct_r": 0.06, "shoulder_abduct_l": 0.06, "knee_r": 0.04, "knee_l": 0.04,
            }.items()
        }  # fmt: skip
        pose = {name: pose.get(name, 0) + sway.get(name, 0) for name in pose.keys() | sway.keys()}
        bodies.append(animate(pose, person, frames))
    if len(bodies) == 2:
        gap = rng.uniform(0.8, 1.2) + (1.2 if "walk" in action else 0)
        bodies[0][..., 2] -= gap / 2
        bodies[1][..., (0, 2)] *= -1
        bodies[1][..., 2] += gap / 2
    faced = CAMERA_YAW[1 if replication % 2 else 2] + rng.normal(0, 12)
    heading = _rotation("y", np.array([np.radians(faced)]))[0]
    return np.stack(bodies, axis=1) @ heading.T


def film(
    scene: np.ndarray, camera: int, setup: int, noise: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return what a camera records of a performance: joints [T', M, 25, 3] in camera space, tracking state [T', M, 25].

    The camera starts late and stops early by up to a sixth, hides what is behind the body, and adds its noise.
    """
    trim = len(scene) // 6
    scene = scene[rng.integers(0, trim + 1) : len(scene) - rng.integers(0, trim + 1)]
    frames, persons = scene.shape[:2]
    # Scene +z at yaw 0 looks at camera 1. In camera space x is mirrored and z points away from the camera.
    yaw = np.radians(CAMERA_YAW[camera - 1] + rng.normal(0, 4))
    height = 1.0 + 0.25 * (setup % 3) + 0.35 * (camera - 1)
    distance = 2.6 + 0.3 * (setup % 4) + 0.3 * (camera - 1)
    pitch = np.arctan2(height - 1.0, distance) + rng.normal(0, 0.03)
    seen = scene @ _rotation("y", np.array([-yaw]))[0].T * np.array([-1, 1, -1]) + np.array(
        [0, -height, distance]
    )
    seen = seen @ _rotation("x", np.array([-pitch]))[0].T
    behind = seen[..., 2] - seen[:, :, 20:21, 2]
    hidden = 1 / (1 + np.exp(-(behind - 0.06) / 0.03))
    # A hidden joint is guessed: too near to the trunk, wandering slowly.
    trunk = seen[:, :, 1:2]
    seen = seen + 0.3 * hidden[..., None] * (trunk - seen) * np.array([1, 0.3, 1])
    wander = _smooth_noise(rng, frames, (persons, JOINTS, 3), 8) * (1 + 4 * hidden[..., None])
    jitter = rng.normal(size=seen.shape) * 0.5
    seen = seen + noise * (wander + jitter) * np.array([1, 1, 1.8])
    state = np.where(hidden > 0.6, 1, 2)
    for person in range(persons):
        for joint in EXTREMITIES:
            if rng.random() < 0.05:
                start = rng.integers(0, frames)
                gone = slice(start, start + int(rng.integers(3, 15)))
                seen[gone, person, joint], state[gone, person, joint] = 0, 0
    return seen, state


# x y z, depth x y, colour x y, orientation (not simulated), tracking state
_JOINT_LINE = "%.6f %.6f %.6f %.3f %.3f %.2f %.2f 0 0 0 0 %d\r\n"
_BODY_TEXT = "%d 0 1 0 1 0 0 %.6f %.6f 2\r\n25\r\n" + _JOINT_LINE * JOINTS


def write_skeleton(
    bodies: list[list[int]], joints: np.ndarray, state: np.ndarray, ids: list[int]
) -> bytes:
    """Return the text of a `.skeleton` file.

    Args:
        bodies: for every frame the persons that the file lists, in that order; may be none.
        joints: [T, M, 25, 3].
        state: [T, M, 25].
        ids: the body id of each person.
    """
    depth = joints[..., 2:].clip(0.5)
    image = joints[..., :2] / depth * (1, -1)
    fields = np.concatenate(
        [joints, image * 365 + (256, 212), image * 1060 + (960, 540), state[..., None]], axis=-1
    )
    rows = fields.reshape(*fields.shape[:2], -1).tolist()
    text = [f"{len(bodies)}\r\n"]
    for frame, listed in zip(rows, bodies, strict=True):
        text.append(f"{len(listed)}\r\n")
        text += [_BODY_TEXT % (ids[m], frame[m][0] / 5, frame[m][1] / 5, *frame[m]) for m in listed]
    return "".join(text).encode()


def _listed_bodies(frames: int, persons: int, rng: np.random.Generator) -> list[list[int]]:
    """Which persons each frame lists: now and then the sensor loses everybody, or the second person, for a while."""
    listed = [list(range(persons)) for _ in range(frames)]
    if rng.random() < 0.04:
        at = int(rng.integers(5, frames - 5))
        listed[at : at + 2] = [[], []]
    if persons > 1 and rng.random() < 0.1:
        for frame in range(int(rng.integers(frames // 2, frames)), frames):
            listed[frame] = [0]
    return listed


def require_limits(**counts: int) -> None:
    """Raise ValueError naming a setting of `record` of which there is less than one or more than there can be."""
    most = {"actions": len(ACTIONS), "cameras": MAX_CAMERAS, "subjects": 999, "replications": 999}
    for key, value in counts.items():
        if not 1 <= value <= most[key]:
            raise ValueError(f"synthetic.{key}={value}: must be 1 to {most[key]}")


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
    """Record every action by every subject, `replications` times, with every camera; return the file names, sorted.

    Args:
        out_dir: where the `.skeleton` files go.
        actions: how many of `ACTIONS`, from the first on.
        subjects: how many people; each also plays the second person for another.
        cameras: 1 to 3.
        seed: the same seed writes the same bytes.
        noise: standard deviation of a joint in the open in metres, about; hidden ones have five times that.

    Raises:
        ValueError: more actions or cameras than there are, or less than one of something.
        UserError: the directory cannot be written.
    """
    require_limits(actions=actions, subjects=subjects, replications=replications, cameras=cameras)
    storage.make_directory(out_dir)
    people = [Person.draw(np.random.default_rng([seed, subject])) for subject in range(subjects)]
    names = []
    for a, action in enumerate(list(ACTIONS)[:actions]):
        for p in range(subjects):
            for r in range(replications):
                who = [people[p], people[(p + 1) % subjects]]
                scene = perform(action, who, r + 1, np.random.default_rng([seed, p, a, r]))
                for c in range(cameras):
                    rng = np.random.default_rng([seed, p, a, r, c])
                    setup = 1 + p % 4
                    joints, state = film(scene, c + 1, setup, noise, rng)
                    listed = _listed_bodies(*joints.shape[:2], rng)
                    ids = [
                        BODY_ID + int(rng.integers(0, 99999)) + m for m in range(joints.shape[1])
                    ]
                    name = f"S{setup:03}C{c + 1:03}P{p + 1:03}R{r + 1:03}A{a + 1:03}.skeleton"
                    storage.write_bytes(
                        storage.join(out_dir, name), write_skeleton(listed, joints, state, ids)
                    )
                    names.append(name)
    return sorted(names)
