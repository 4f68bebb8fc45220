"""Which clips somebody should look at, and why: rules on the statistics of clips.

A rule says what is unusual, not that a clip must go. No files, no Ray. Shapes: N clips, M persons,
V joints, K bones.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from models.skeleton import SkeletonLayout
from pipeline.card.bones import BoneNorms, bone_scores, log_length, log_ratio
from pipeline.card.statistics import Columns
from pipeline.core.console import percent
from pipeline.store.copies import groups_of_copies
from pipeline.store.index import StoreIndex

# No action is over within a sixth of a second, 5 frames at 30 a second.
FEW_FRAMES = 5
# A sensor's noise alone moves joints by some millimetres: a body that stays within 1 mm is one
# frame repeated.
STILL_METRES = 0.001
# m/s. A hand that throws reaches about 10 m/s; twice that is an error of the tracking.
JUMP_SPEED = 20.0
# Robust standard deviations. Lengths of tracked bones have heavy tails, so the 3 that one would use
# for a normal distribution would name far too many clips.
OUTLIER = 6.0
# People differ less than this: an adult of 1.70 m and a child of 1.15 m, 1.48 times.
LENGTH_RATIO = 1.5
# Noise makes every bone vary somewhat, and short bones most. Where a bone hardly ever varies,
# OUTLIER alone would name clips in which it varies just a little.
VARIATION_RATIO = 3.0
# Half way from lying (0) to standing on the head (-1): people who lie or bend down are not named.
UPSIDE_DOWN = -0.5
# More than 120 degrees away from the front: an ankle does not turn that far.
SWAPPED = -0.5


@dataclass(frozen=True)
class Rule:
    """What the findings of a rule are called, and when a clip has one."""

    name: str
    when: str


# In the order in which a card lists them.
RULES = {
    "duplicate": Rule("copies", "every coordinate is equal to another clip's"),
    "upside_down": Rule(
        "upside down",
        "the head is below the ankles: y of the direction from these to it is below "
        f"{UPSIDE_DOWN:g} (standing 1, lying 0), mean over the frames",
    ),
    "swapped": Rule(
        "left and right swapped",
        "the toes point backwards, judged by spine and shoulders: cosine below "
        f"{SWAPPED:g}, mean over the frames",
    ),
    "bone_length": Rule(
        "bone lengths",
        f"a bone's median length is {LENGTH_RATIO:g} times or more off the median of all clips, "
        f"and more than {OUTLIER:g} robust standard deviations (1.4826 MAD of log lengths over "
        "the clips)",
    ),
    "bone_varies": Rule(
        "varying bones",
        "within the clip a bone's length (95th over 5th percentile) varies "
        f"{VARIATION_RATIO:g} times or more, and the logarithm of this ratio is more than "
        f"{OUTLIER:g} robust standard deviations above that bone's median",
    ),
    "jump": Rule(
        "jumps",
        f"a joint moves faster than {JUMP_SPEED:g} m/s into a frame (frames count from 0)",
    ),
    "missing_frames": Rule("missing frames", "a frame that nobody is in"),
    "missing_joints": Rule("missing joints", "a person lacks a joint (exactly zero)"),
    "still": Rule(
        "no movement", f"no joint leaves a box with a diagonal of {1000 * STILL_METRES:g} mm"
    ),
    "few_frames": Rule("few frames", f"{FEW_FRAMES} frames or fewer"),
}


@dataclass(frozen=True)
class Finding:
    """A clip that falls under a rule.

    Attributes:
        clip: its id.
        score: how bad it is; higher is worse, comparable within a rule only.
        text: what was found, for people.
    """

    clip: int
    score: float
    text: str


def find(
    columns: Columns, index: StoreIndex, layout: SkeletonLayout, fps: float
) -> dict[str, list[Finding]]:
    """Apply every rule.

    Args:
        columns: `statistics` of all clips.
        index: of the store, for the names of clips.
        layout: of the joints.
        fps: frames a second.

    Returns:
        Kind -> its findings, the worst first and equally bad ones in the order of their names;
        every kind of RULES, in its order.
    """
    found = {
        "duplicate": _duplicates(columns, index),
        "upside_down": _below(
            columns["upright"], UPSIDE_DOWN, "head against ankles, y of the direction"
        ),
        "swapped": _below(columns["toes"], SWAPPED, "toes against the front, cosine"),
        "bone_length": _bone_lengths(columns, layout),
        "bone_varies": _varying_bones(columns, layout),
        "jump": _jumps(columns, layout, fps),
        "missing_frames": _missing_frames(columns),
        "missing_joints": _missing_joints(columns, layout),
        "still": _still(columns),
        "few_frames": _few_frames(columns),
    }
    ranked = {}
    for kind in RULES:
        worst_first = sorted(found[kind], key=lambda one: (-one.score, index.clip_id[one.clip]))
        ranked[kind] = worst_first
    return ranked


def missing_share(columns: Columns) -> np.ndarray:
    """Share of joints that are missing in each clip, [N], counted where their person is present."""
    joints = columns["missing"].shape[1]
    return columns["missing"].sum(1) / np.maximum(columns["bodies"] * joints, 1)


def _duplicates(columns: Columns, index: StoreIndex) -> list[Finding]:
    findings = []
    for group in groups_of_copies(columns["digest"]):
        names = sorted(index.clip_id[group])
        for clip in group:
            others = [name for name in names if name != index.clip_id[clip]]
            text = f"equal to {others[0]}"
            if len(others) > 1:
                text += f" and {len(others) - 1} more"
            score = float(len(group))
            # The first of each group by name leads, so that the head of the list shows many groups.
            if names[0] == index.clip_id[clip]:
                score += 0.5
            findings.append(Finding(int(clip), score, text))
    return findings


def _below(values: np.ndarray, limit: float, what: str) -> list[Finding]:
    """Findings of the clips whose value is below a limit; NaN never is."""
    return _where(values < limit, -values, lambda clip: f"{what}: {values[clip]:.2f}")


def _bone_lengths(columns: Columns, layout: SkeletonLayout) -> list[Finding]:
    norms = BoneNorms.of(columns)
    score = bone_scores(columns, norms)
    off = np.abs(log_length(columns["length"]) - norms.length)
    wrong = (score > OUTLIER) & (off >= np.log(LENGTH_RATIO))

    def text(clip: int, person: int, bone: int) -> str:
        length = columns["length"][clip, person, bone]
        return f"{length:.2f} m, others {np.exp(norms.length[bone]):.2f} m"

    return _worst_bones(wrong, score, layout, text)


def _varying_bones(columns: Columns, layout: SkeletonLayout) -> list[Finding]:
    norms = BoneNorms.of(columns)
    ratio = log_ratio(columns)
    score = (ratio - norms.ratio) / norms.ratio_spread
    wrong = (score > OUTLIER) & (ratio >= np.log(VARIATION_RATIO))

    def text(clip: int, person: int, bone: int) -> str:
        times = np.exp(ratio[clip, person, bone])
        usual = np.exp(norms.ratio[bone])
        return f"varies {times:.1f} times within the clip, others {usual:.1f} times"

    return _worst_bones(wrong, score, layout, text)


def _worst_bones(
    wrong: np.ndarray,
    score: np.ndarray,
    layout: SkeletonLayout,
    text: Callable[[int, int, int], str],
) -> list[Finding]:
    """One finding a clip, about its worst bone.

    Args:
        wrong: bool [N, M, K], the bones that fall under the rule.
        score: [N, M, K], how far each bone is off.
        layout: of the joints.
        text: (clip, person, bone) -> what is wrong with the bone.
    """
    names = []
    for joint, parent in layout.bones:
        names.append(f"{layout.joints[joint]}-{layout.joints[parent]}".replace("_", " "))
    ranked = np.where(wrong, score, -np.inf).reshape(len(wrong), -1)
    findings = []
    for clip in np.flatnonzero(wrong.any((1, 2))).tolist():
        worst = int(ranked[clip].argmax())
        person, bone = divmod(worst, len(names))
        said = f"{_whose(person)}{names[bone]} {text(clip, person, bone)}"
        more = int(wrong[clip].sum()) - 1
        if more:
            said += f" (and {_count(more, 'more bone')})"
        findings.append(Finding(clip, float(ranked[clip, worst]), said))
    return findings


def _jumps(columns: Columns, layout: SkeletonLayout, fps: float) -> list[Finding]:
    speed = columns["step"] * fps
    body_speed = columns["body_step"] * fps

    def text(clip: int) -> str:
        whose = _whose(int(columns["step_person"][clip]))
        joint = layout.joints[columns["step_joint"][clip]].replace("_", " ")
        said = f"{whose}{joint} {speed[clip]:.0f} m/s at frame {columns['step_frame'][clip]}"
        if body_speed[clip] > JUMP_SPEED:
            said += f"; the whole body {body_speed[clip]:.0f} m/s"
        return said

    return _where(speed > JUMP_SPEED, speed, text)


def _missing_frames(columns: Columns) -> list[Finding]:
    empty = columns["empty_frames"]
    frames = columns["frames"]
    return _where(empty > 0, empty / frames, lambda clip: f"{empty[clip]} of {frames[clip]} frames")


def _missing_joints(columns: Columns, layout: SkeletonLayout) -> list[Finding]:
    missing = columns["missing"]
    share = missing_share(columns)

    def text(clip: int) -> str:
        # The joints that are missing most often come first.
        count = int((missing[clip] > 0).sum())
        worst = np.argsort(-missing[clip], kind="stable")[:count]
        names = [layout.joints[joint].replace("_", " ") for joint in worst]
        said = f"{percent(share[clip], '.2g')} of the joints: {', '.join(names[:3])}"
        if count > 3:
            said += f" and {count - 3} more"
        return said

    return _where(share > 0, share, text)


def _still(columns: Columns) -> list[Finding]:
    extent = columns["extent"]
    frames = columns["frames"]
    still = (frames > 1) & (extent < STILL_METRES)  # a single frame cannot move
    return _where(
        still, frames, lambda clip: f"{frames[clip]} frames, {1000 * extent[clip]:.2g} mm"
    )


def _few_frames(columns: Columns) -> list[Finding]:
    frames = columns["frames"]
    return _where(frames <= FEW_FRAMES, -frames, lambda clip: _count(int(frames[clip]), "frame"))


def _where(hit: np.ndarray, score: np.ndarray, text: Callable[[int], str]) -> list[Finding]:
    """A finding for each clip that is hit; hit and score [N]."""
    findings = []
    for clip in np.flatnonzero(hit).tolist():
        findings.append(Finding(clip, float(score[clip]), text(clip)))
    return findings


def _whose(person: int) -> str:
    """How a text begins that is about another person than the first."""
    return f"person {person + 1}: " if person else ""


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
