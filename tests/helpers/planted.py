"""A store with planted defects: clean clips of people, and one of each thing that can be wrong."""

import numpy as np

from models.skeleton import SkeletonLayout
from pipeline.card.contents import contents
from pipeline.card.findings import find
from pipeline.card.inspection import Inspection
from pipeline.card.statistics import statistics
from pipeline.config.compose import load
from pipeline.config.root import Config
from pipeline.encoder.build import layout_of
from pipeline.store.clip_store import ClipStore
from pipeline.store.index import StoreIndex
from pipeline.store.manifest import layout_record
from pipeline.store.shards import INTEGERS
from tests.helpers.stores import clip_row, write_rows

FPS = 30.0
CLEAN = 60  # clips with nothing wrong

# A person of Kinect v1 who faces the camera (towards -z): x, y, z in metres. The left side has the
# smaller x.
STANDING = {
    "spine_base": (0, 0, 0),
    "spine_mid": (0, 0.3, 0),
    "spine_shoulder": (0, 0.5, 0),
    "head": (0, 0.75, 0),
    "left_shoulder": (-0.18, 0.48, 0),
    "left_elbow": (-0.25, 0.2, 0),
    "left_wrist": (-0.26, -0.04, 0),
    "left_hand": (-0.26, -0.12, 0),
    "left_hip": (-0.1, -0.05, 0),
    "left_knee": (-0.11, -0.45, -0.02),
    "left_ankle": (-0.11, -0.85, 0),
    "left_foot": (-0.12, -0.9, -0.12),
}
STANDING |= {
    f"right{name[4:]}": (-x, y, z)
    for name, (x, y, z) in STANDING.items()
    if name.startswith("left")
}


def planted_layout() -> SkeletonLayout:
    """That of Kinect v1, as N-UCLA has it."""
    return layout_of(load(["data=nw_ucla"]).data.skeleton)


def joint(layout: SkeletonLayout, name: str) -> int:
    return layout.joints.index(name)


def person(
    layout: SkeletonLayout, random: np.random.Generator, frames: int, x: float = 0.0
) -> np.ndarray:
    """[T, V, 3]: somebody of some size who turns and walks a little, with a sensor's noise."""
    pose = np.array([STANDING[name] for name in layout.joints]) * random.uniform(0.9, 1.1)
    turn = random.uniform(-0.6, 0.6) + 0.3 * np.sin(np.linspace(0, 3, frames))
    cosine, sine, zero = np.cos(turn), np.sin(turn), np.zeros(frames)
    yaw = np.stack([cosine, zero, sine, zero, zero + 1, zero, -sine, zero, cosine], -1).reshape(
        frames, 3, 3
    )
    place = np.array([x, 0.2, 3]) + np.linspace(0, 0.5, frames)[:, None] * random.uniform(
        -1, 1, (1, 3)
    ) * [1, 0, 1]
    return (
        pose @ yaw.transpose(0, 2, 1)
        + place[:, None]
        + 0.003 * random.normal(size=(frames, len(pose), 3))
    )


def stretch(clip: np.ndarray, layout: SkeletonLayout, name: str, factor: float) -> None:
    """Move one joint, with what hangs on it, along its bone."""
    moved, at = joint(layout, name), joint(layout, name)
    away = (factor - 1) * (clip[:, :, at] - clip[:, :, layout.parents[at]])
    hanging = [number for number in range(layout.num_joints) if moved in path(layout, number)]
    clip[:, :, hanging] += np.where(
        (clip[:, :, hanging] != 0).any(-1, keepdims=True), away[:, :, None], 0
    )


def path(layout: SkeletonLayout, at: int) -> list[int]:
    """From a joint to the root."""
    found = [at]
    while layout.parents[at] != at:
        at = layout.parents[at]
        found.append(at)
    return found


def planted(layout: SkeletonLayout) -> dict[str, np.ndarray]:
    """Clips [T, 2, V, 3] by name: CLEAN ones, every fifth of two persons, one of each defect."""
    random = np.random.default_rng(0)

    def clip(frames: int, persons: int = 1) -> np.ndarray:
        made = np.zeros((frames, 2, layout.num_joints, 3))
        for number in range(persons):
            made[:, number] = person(layout, random, frames, x=number)
        return made

    clips = {
        f"clean-{n}": clip(int(random.integers(20, 60)), 1 + (n % 5 == 0)) for n in range(CLEAN)
    }
    clips["short"] = clip(1)
    clips["zero-joints"] = clip(30)
    clips["zero-joints"][4:7, 0, joint(layout, "left_hand")] = 0
    clips["empty-frames"] = clip(40)
    clips["empty-frames"][10:20] = 0
    clips["long-forearm"] = clip(30, 2)
    stretch(clips["long-forearm"][:, 1:], layout, "left_wrist", 2.5)
    clips["rubber-thigh"] = clip(40)
    stretch(clips["rubber-thigh"][::3], layout, "right_knee", 3.5)
    clips["headstand"] = clip(30)
    clips["headstand"][..., :2] *= -1  # turned half round in the picture: left and right stay right
    clips["mirror"] = clip(30)
    clips["mirror"][..., 0] *= -1
    clips["mirror"][:, 1] = 0
    clips["jump"] = clip(30)
    clips["jump"][12, 0, joint(layout, "right_hand"), 0] += 0.9
    clips["leap"] = clip(30)
    clips["leap"][20:, 0, :, 2] += 1
    clips["frozen"] = np.repeat(clip(1), 25, axis=0)
    clips["copy-a"] = clip(33)
    clips["copy-b"] = clips["copy-a"].copy()
    return {name: made.astype(np.float32) for name, made in clips.items()}


# What is to be found: clip -> rules and what the texts must say.
PLANTED = {
    "short": {"few_frames": "1 frame"},
    "zero-joints": {"missing_joints": "left hand"},
    "empty-frames": {"missing_frames": "10 of 40 frames"},
    "long-forearm": {"bone_length": "person 2: left wrist-left elbow 0.6"},
    "rubber-thigh": {"bone_varies": "right knee-right hip varies 3.", "jump": "m/s"},
    "headstand": {"upside_down": "-1.00"},
    "mirror": {"swapped": "-0."},
    "jump": {"jump": "right hand 27 m/s at frame 1"},
    "leap": {"jump": "m/s at frame 20; the whole body 30 m/s"},
    "frozen": {"still": "25 frames"},
    "copy-a": {"duplicate": "equal to copy-b"},
    "copy-b": {"duplicate": "equal to copy-a"},
}


def together(clips: dict[str, np.ndarray], layout: SkeletonLayout) -> dict[str, np.ndarray]:
    """Their statistics."""
    offsets = np.cumsum([0, *map(len, clips.values())])
    return statistics(np.concatenate(list(clips.values())), offsets, layout)


def index_of(clips: dict[str, np.ndarray], **columns: np.ndarray) -> StoreIndex:
    """As of a store that holds them and knows nothing else."""
    unknown = {name: np.full(len(clips), -1) for name in INTEGERS}
    split = np.fromiter(((),) * len(clips), object, len(clips))
    frames = np.array([len(clip) for clip in clips.values()])
    persons = np.array([(clip != 0).any((0, 2, 3)).sum() for clip in clips.values()])
    names = np.array(list(clips))
    known = {
        "clip_id": names,
        "performance_id": names,
        "split": split,
        "num_frames": frames,
        "num_persons": persons,
    }
    return StoreIndex(**unknown | known | columns)


def card_of(
    clips: dict[str, np.ndarray],
    layout: SkeletonLayout,
    classes=(),
    protocols=None,
    flaws=None,
    **columns,
):
    """The card of a store that holds these clips; `columns` of its index, and `rejected`."""
    manifest = {
        "layout": layout_record(layout),
        "fps": FPS,
        "axes": "x, y, z",
        "dataset": "planted",
    }
    manifest |= {"fingerprint": "0" * 32, "rejected": columns.pop("rejected", [])}
    store = ClipStore("store", manifest)
    index = index_of(clips, **columns)
    found = together(clips, layout)
    findings = find(found, index, layout, FPS)
    inspection = Inspection(store, index, layout, found, findings)
    return contents(inspection, flaws, classes, protocols or {})


def write_planted(config: Config) -> None:
    """Write the planted clips in three shards.

    Cameras 1 to 3 in turn, no subject, one label in three unknown.
    """
    layout = layout_of(config.data.skeleton)
    metadata = {"fps": FPS, "axes": "x right, y up, z towards us", "dataset": "planted"}
    rows = []
    for number, (name, clip) in enumerate(planted(layout).items()):
        row = clip_row(
            name,
            clip,
            dataset="planted",
            label=None if number % 3 == 2 else number % 3,
            camera=1 + number % 3,
            num_persons=int((clip != 0).any((0, 2, 3)).sum()),
        )
        rows.append(row)
    shards = [rows[number::3] for number in range(3)]
    rejected = [{"name": "bad.json", "reason": "no frames"}]
    write_rows(config.store, shards, layout_record(layout), metadata, rejected=rejected, **metadata)
