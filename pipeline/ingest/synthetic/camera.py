"""What a camera records of a performance: from its own place, with joints that it cannot see."""

import numpy as np

from pipeline.ingest.synthetic.body import JOINTS, rotation
from pipeline.ingest.synthetic.performance import CAMERA_YAW, smooth_noise

SPINE_MIDDLE = 1
SPINE_SHOULDER = 20
# Joints that the sensor loses now and then: hands and feet.
EXTREMITIES = (7, 11, 15, 19, 21, 22, 23, 24)

# Tracking states of Kinect v2.
NOT_TRACKED = 0
INFERRED = 1
TRACKED = 2


def film(
    scene: np.ndarray, camera: int, setup: int, noise: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Record a performance with one camera.

    The camera starts late and stops early by up to a sixth, hides what is behind the body, and adds
    its noise.

    Args:
        scene: [T, M, 25, 3] in metres in the scene.
        camera: 1 to 3.
        setup: decides how high and how far away the camera stands.
        noise: standard deviation of a joint in the open in metres, about.
        rng: its own source of randomness.

    Returns:
        Joints [T', M, 25, 3] in camera space, and their tracking states [T', M, 25].
    """
    trim = len(scene) // 6
    start = rng.integers(0, trim + 1)
    stop = len(scene) - rng.integers(0, trim + 1)
    seen = _in_camera_space(scene[start:stop], camera, setup, rng)
    frames, persons = seen.shape[:2]

    # A joint is hidden, more or less, where it is behind the shoulders.
    behind = seen[..., 2] - seen[:, :, SPINE_SHOULDER : SPINE_SHOULDER + 1, 2]
    hidden = 1 / (1 + np.exp(-(behind - 0.06) / 0.03))
    # A hidden joint is guessed: too near to the trunk, wandering slowly.
    trunk = seen[:, :, SPINE_MIDDLE : SPINE_MIDDLE + 1]
    seen = seen + 0.3 * hidden[..., None] * (trunk - seen) * np.array([1, 0.3, 1])
    wander = smooth_noise(rng, frames, (persons, JOINTS, 3), 8) * (1 + 4 * hidden[..., None])
    jitter = rng.normal(size=seen.shape) * 0.5
    seen = seen + noise * (wander + jitter) * np.array([1, 1, 1.8])
    state = np.where(hidden > 0.6, INFERRED, TRACKED)
    _lose_extremities(seen, state, rng)
    return seen, state


def _in_camera_space(
    scene: np.ndarray, camera: int, setup: int, rng: np.random.Generator
) -> np.ndarray:
    """Return what is in the scene as the camera sees it.

    Scene +z at yaw 0 looks at camera 1. In camera space x is mirrored, and z points away from the
    camera.
    """
    yaw = np.radians(CAMERA_YAW[camera - 1] + rng.normal(0, 4))
    height = 1.0 + 0.25 * (setup % 3) + 0.35 * (camera - 1)
    distance = 2.6 + 0.3 * (setup % 4) + 0.3 * (camera - 1)
    pitch = np.arctan2(height - 1.0, distance) + rng.normal(0, 0.03)
    turned = scene @ rotation("y", np.array([-yaw]))[0].T
    seen = turned * np.array([-1, 1, -1]) + np.array([0, -height, distance])
    return seen @ rotation("x", np.array([-pitch]))[0].T


def _lose_extremities(seen: np.ndarray, state: np.ndarray, rng: np.random.Generator) -> None:
    """Lose some hands and feet for a while. Changes both arrays."""
    frames, persons = seen.shape[:2]
    for person in range(persons):
        for joint in EXTREMITIES:
            if rng.random() < 0.05:
                start = rng.integers(0, frames)
                gone = slice(start, start + int(rng.integers(3, 15)))
                seen[gone, person, joint] = 0
                state[gone, person, joint] = NOT_TRACKED


def listed_bodies(frames: int, persons: int, rng: np.random.Generator) -> list[list[int]]:
    """Decide which persons each frame of a file lists.

    Now and then the sensor loses everybody for two frames, or the second person until the end.
    """
    listed = [list(range(persons)) for _ in range(frames)]
    if rng.random() < 0.04:
        lost = int(rng.integers(5, frames - 5))
        listed[lost : lost + 2] = [[], []]
    if persons > 1 and rng.random() < 0.1:
        lost = int(rng.integers(frames // 2, frames))
        for frame in range(lost, frames):
            listed[frame] = [0]
    return listed
