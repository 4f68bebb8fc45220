"""People who stand, in the joints of any skeleton layout: clips whose axes and size are known."""

import numpy as np
import yaml

from models.skeleton import SkeletonLayout
from tests.helpers.paths import CONF, ROOT

LAYOUTS = {
    path.stem: path
    for path in (
        *sorted((CONF / "skeleton").glob("*.yaml")),
        ROOT / "examples" / "own_data" / "mine" / "skeleton" / "mine.yaml",
    )
}
# A person who stands: (to the side, up, ahead) in metres, by a part of the joint's name.
POSE = {
    "spine_base": (0, 0, 0), "pelvis": (0, 0, 0), "spine_mid": (0, 0.3, 0.02),
    "spine_shoulder": (0, 0.5, 0), "chest": (0, 0.5, 0), "neck": (0, 0.55, 0),
    "head": (0, 0.75, 0.02), "nose": (0, 0.7, 0.1), "eye": (0.03, 0.74, 0.08),
    "ear": (0.07, 0.72, 0), "shoulder": (0.2, 0.5, 0), "elbow": (0.25, 0.22, 0.02),
    "wrist": (0.27, 0, 0.1), "hand_tip": (0.28, -0.12, 0.14), "thumb": (0.26, -0.06, 0.14),
    "hand": (0.28, -0.05, 0.12), "hip": (0.1, -0.05, 0), "knee": (0.12, -0.45, 0.05),
    "ankle": (0.12, -0.85, 0), "foot": (0.13, -0.9, 0.12),
}  # fmt: skip
LEGS = ("knee", "ankle", "foot")


def layout(name):
    return SkeletonLayout.build(**yaml.safe_load(LAYOUTS[name].read_text()))


def pose(joints):
    """A standing body in the joints of a layout, [V, 3]."""
    points = []
    for joint in joints:
        place = next(place for part, place in POSE.items() if part in joint)
        side = 1 if joint.startswith("left") else -1
        points.append((side * place[0], *place[1:]))
    return np.array(points)


def people(joints, count=24, seed=0):
    """Clips [T, 1, V, 3] of people who stand, turned any way, three metres ahead, y up."""
    random = np.random.default_rng(seed)
    clips = []
    for _ in range(count):
        turn = random.uniform(-np.pi, np.pi)
        cosine, sine = np.cos(turn), np.sin(turn)
        body = pose(joints) * random.normal(1, 0.08)
        body = body @ np.array([[cosine, 0, -sine], [0, 1, 0], [sine, 0, cosine]]) + [0.3, 0.1, 3]
        frames = np.repeat(body[None, None], 9, axis=0)
        clips.append(frames + random.normal(0, 0.01, frames.shape))
    return clips
