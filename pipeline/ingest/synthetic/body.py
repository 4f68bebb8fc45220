"""A body: its bones, its habits, and from the angles of a pose to joints in space."""

from dataclasses import dataclass

import numpy as np

# 0-based joints of Kinect v2, in an order in which a parent comes before its children. joint:
# (parent, offset from it in metres in the rest pose, part of the body whose proportion scales it) A
# person faces +z with y up, so that +x is to their left. Arms hang down.
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

# Joints that a pose turns.
SPINE_BASE = 0
SPINE_MIDDLE = 1
NECK = 2
ANKLES = (14, 18)
# side: (sign of x, shoulder, hip). The elbow and the wrist come after the shoulder, the knee after
# the hip.
SIDES = {"l": (1, 4, 12), "r": (-1, 8, 16)}
ANKLE_HEIGHT = 0.08

# Channels of angles in radians (and `x`, `z`, `jump` in metres), each [T]. In their names `_r` is
# the acting side.
Pose = dict[str, np.ndarray]


@dataclass(frozen=True)
class Person:
    """A body and its habits.

    Attributes:
        proportions: how large each part of the body is, 1 in the rest pose.
        tempo: how fast the person moves.
        reach: how far the person moves.
        habit: what is added to every pose of the person, by channel.
    """

    proportions: dict[str, float]
    tempo: float
    reach: float
    habit: dict[str, float]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Person":
        """Draw a person between about 1.45 and 1.95 m."""
        size = rng.uniform(0.85, 1.15)
        proportions = {}
        for part in ("trunk", "shoulders", "arms", "legs"):
            proportions[part] = size * rng.uniform(0.93, 1.07)
        habit = {"lean": rng.normal(0.05, 0.06), "head": rng.normal(0, 0.12)}
        for side in "rl":
            habit[f"shoulder_abduct_{side}"] = rng.uniform(0.05, 0.3)
        for side in "rl":
            habit[f"elbow_{side}"] = rng.uniform(0.05, 0.4)
        tempo = rng.uniform(0.8, 1.3)
        reach = rng.uniform(0.75, 1.1)
        return cls(proportions, tempo, reach, habit)


def rotation(axis: str, angle: np.ndarray) -> np.ndarray:
    """Return rotation matrices [T, 3, 3] about x, y or z.

    Args:
        axis: "x", "y" or "z".
        angle: radians [T].
    """
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrices = np.zeros((len(angle), 3, 3))
    matrices[:] = np.eye(3)
    cosine = np.cos(angle)
    sine = np.sin(angle)
    matrices[:, i, i] = cosine
    matrices[:, j, j] = cosine
    matrices[:, j, i] = sine
    matrices[:, i, j] = -sine
    return matrices


def animate(pose: Pose, person: Person, frames: int) -> np.ndarray:
    """Compute joints from the angles of a pose (forward kinematics).

    Args:
        pose: channels that are missing stand for zero.
        person: whose body it is, and whose habits are added.
        frames: T.

    Returns:
        Joints [T, 25, 3] in metres. The person stands at the origin, on the floor, and faces +z.
    """
    zero = np.zeros(frames)

    def channel(name: str) -> np.ndarray:
        return pose.get(name, zero) + person.habit.get(name, 0.0)

    turns = {
        SPINE_BASE: rotation("y", channel("yaw")) @ rotation("z", channel("roll")),
        SPINE_MIDDLE: rotation("x", channel("lean")) @ rotation("y", channel("twist")),
        NECK: rotation("x", channel("head")) @ rotation("y", channel("look")),
    }
    for side, (sign, shoulder, hip) in SIDES.items():
        turns[shoulder] = (
            rotation("z", sign * channel(f"shoulder_abduct_{side}"))
            @ rotation("x", -channel(f"shoulder_flex_{side}"))
            @ rotation("y", -sign * channel(f"shoulder_twist_{side}"))
        )
        turns[shoulder + 1] = rotation("x", -channel(f"elbow_{side}"))
        turns[shoulder + 2] = rotation("z", sign * channel(f"wrist_{side}"))
        turns[hip] = rotation("x", -channel(f"hip_flex_{side}"))
        turns[hip + 1] = rotation("x", channel(f"knee_{side}"))

    # From the root outwards: a joint hangs on its parent, and turns what hangs on itself.
    joints = np.zeros((frames, JOINTS, 3))
    facing = {SPINE_BASE: turns[SPINE_BASE]}
    for joint, (parent, offset, part) in BONES.items():
        bone = np.array(offset) * person.proportions[part]
        joints[:, joint] = joints[:, parent] + facing[parent] @ bone
        facing[joint] = facing[parent]
        if joint in turns:
            facing[joint] = facing[parent] @ turns[joint]

    # The lower foot stands on the floor, unless the person jumps.
    lowest = joints[:, ANKLES, 1].min(axis=1)
    joints[..., 1] += (channel("jump") - lowest + ANKLE_HEIGHT)[:, None]
    joints[..., 0] += channel("x")[:, None]
    joints[..., 2] += channel("z")[:, None]
    return joints


def mirrored(pose: Pose) -> Pose:
    """Return the same pose with left and right exchanged."""
    other_side = {"r": "l", "l": "r"}
    signs = {"twist": -1, "yaw": -1, "roll": -1, "x": -1, "look": -1}
    result = {}
    for name, values in pose.items():
        target = name
        if name[-2:] in ("_r", "_l"):
            target = f"{name[:-2]}_{other_side[name[-1]]}"
        result[target] = signs.get(name, 1) * values
    return result
