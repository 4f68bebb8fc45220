"""One performance of an action: one or two people in a scene, each with a way of doing it."""

import numpy as np

from pipeline.ingest.synthetic.actions import ACTIONS, Style
from pipeline.ingest.synthetic.body import Person, Pose, animate, mirrored, rotation

# Degrees about the vertical. As in NTU, odd replications face camera 2 and even ones camera 3.
CAMERA_YAW = (0.0, -45.0, 45.0)

# How far people sway while they act, by channel: standard deviation in radians, `x` in metres.
SWAY = {
    "yaw": 0.10,
    "roll": 0.02,
    "twist": 0.08,
    "lean": 0.05,
    "look": 0.25,
    "x": 0.03,
    "shoulder_flex_r": 0.12,
    "shoulder_flex_l": 0.12,
    "elbow_r": 0.15,
    "elbow_l": 0.15,
    "shoulder_abduct_r": 0.06,
    "shoulder_abduct_l": 0.06,
    "knee_r": 0.04,
    "knee_l": 0.04,
}
SWAY_FRAMES = 20


def smooth_noise(
    rng: np.random.Generator, frames: int, shape: tuple[int, ...], period: int
) -> np.ndarray:
    """Draw noise of about unit variance that changes smoothly.

    Args:
        rng: its source of randomness.
        frames: how many frames.
        shape: of the noise in one frame.
        period: frames from one independent value to the next.

    Returns:
        [frames, *shape]
    """
    knots = rng.normal(size=(frames // period + 2, *shape))
    position = np.arange(frames) / period
    knot = position.astype(int)
    share = (position - knot).reshape(-1, *[1] * len(shape))
    mixed = knots[knot] * (1 - share) + knots[knot + 1] * share
    # Between two knots the variance falls; 2/3 is its mean.
    return mixed / np.sqrt(2 / 3)


def perform(
    action: str, people: list[Person], replication: int, rng: np.random.Generator
) -> np.ndarray:
    """Perform an action once.

    Args:
        action: a name of `ACTIONS`.
        people: the actor, and the person who would be the second one.
        replication: from 1. Decides which camera the actor faces.
        rng: its own source of randomness.

    Returns:
        [T, M, 25, 3] in metres in the scene (y up, the origin on the floor). M is 1 or 2.
    """
    actor = people[0]
    frames = int(np.clip(rng.normal(58, 5) / actor.tempo, 40, 76))
    style = _draw_style(actor, rng)
    left_handed = rng.random() < 0.3
    time = np.linspace(0, 1, frames)
    bodies = []
    for person, move in zip(people, ACTIONS[action], strict=True):
        if move is None:
            continue
        pose = move(time, style)
        if left_handed:
            pose = mirrored(pose)
        bodies.append(animate(_swaying(pose, frames, rng), person, frames))
    if len(bodies) == 2:
        _face_each_other(bodies, action, rng)

    faced_camera = 2
    if replication % 2:
        faced_camera = 1
    faced = CAMERA_YAW[faced_camera] + rng.normal(0, 12)
    heading = rotation("y", np.array([np.radians(faced)]))[0]
    return np.stack(bodies, axis=1) @ heading.T


def _draw_style(actor: Person, rng: np.random.Generator) -> Style:
    early = rng.uniform(0.15, 0.35)
    reach = actor.reach * rng.uniform(0.7, 1.15)
    cycles = int(rng.integers(2, 5))
    late = early + rng.uniform(0.35, 0.5)
    return Style(reach, cycles, early, late)


def _swaying(pose: Pose, frames: int, rng: np.random.Generator) -> Pose:
    """Add sway to a pose: nobody stands still."""
    swaying = dict(pose)
    for name, size in SWAY.items():
        sway = size * smooth_noise(rng, frames, (), SWAY_FRAMES)
        swaying[name] = pose.get(name, 0) + sway
    return swaying


def _face_each_other(bodies: list[np.ndarray], action: str, rng: np.random.Generator) -> None:
    """Move two people apart along z, and turn the second one round. Changes the bodies."""
    first, second = bodies
    gap = rng.uniform(0.8, 1.2)
    if "walk" in action:
        gap += 1.2
    first[..., 2] -= gap / 2
    second[..., (0, 2)] *= -1
    second[..., 2] += gap / 2
