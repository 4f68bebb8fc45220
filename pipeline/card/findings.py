"""Which clips somebody should look at, and why: rules on the statistics of clips. No files, no Ray.

A rule says what is unusual, not that a clip must go. Shapes: N clips, M persons, K bones.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from models.skeleton import SkeletonLayout
from pipeline.card.statistics import bones
from pipeline.store.clip_store import StoreIndex

FEW_FRAMES = 5
STILL_METRES = 0.001
JUMP_SPEED = 20.0  # m/s; an arm that throws reaches some 10 at the hand
OUTLIER = 6.0  # robust standard deviations
LENGTH_RATIO = 1.5
VARIATION_RATIO = 3.0
# Least robust standard deviation of a log length: where all bodies are nearly equal, a few percent are no outlier.
LEAST_SPREAD = 0.02
UPSIDE_DOWN = SWAPPED = -0.5

# What each finding is called and when a clip has it, in the order in which a card lists them.
RULES = {
    "duplicate": ("copies", "every coordinate is equal to another clip's"),
    "upside_down": (
        "upside down",
        f"the head is below the ankles: y of the direction from these to it is below {UPSIDE_DOWN:g} (standing 1, "
        "lying 0), mean over the frames",
    ),
    "swapped": (
        "left and right swapped",
        f"the toes point backwards, judged by spine and shoulders: cosine below {SWAPPED:g}, mean over the frames",
    ),
    "bone_length": (
        "bone lengths",
        f"a bone's median length is {LENGTH_RATIO:g} times or more off the median of all clips, and more than "
        f"{OUTLIER:g} robust standard deviations (1.4826 MAD of log lengths over the clips)",
    ),
    "bone_varies": (
        "varying bones",
        f"within the clip a bone's length (95th over 5th percentile) varies {VARIATION_RATIO:g} times or more, and the "
        f"logarithm of this ratio is more than {OUTLIER:g} robust standard deviations above that bone's median",
    ),
    "jump": (
        "jumps",
        f"a joint moves faster than {JUMP_SPEED:g} m/s into a frame (frames count from 0)",
    ),
    "missing_frames": ("missing frames", "a frame that nobody is in"),
    "missing_joints": ("missing joints", "a person lacks a joint (exactly zero)"),
    "still": (
        "no movement",
        f"no joint leaves a box with a diagonal of {1000 * STILL_METRES:g} mm",
    ),
    "few_frames": ("few frames", f"{FEW_FRAMES} frames or fewer"),
}


@dataclass(frozen=True)
class Finding:
    """That a clip (its id) falls under a rule of RULES; the higher the score, the worse."""

    kind: str
    clip: int
    score: float
    text: str


@dataclass(frozen=True)
class BoneNorms:
    """What is usual for each bone [K] over all clips and persons: log of the median length and how it varies between
    clips; the same of the log ratio of longest to shortest within a clip. NaN where a bone was never seen."""

    length: np.ndarray
    length_spread: np.ndarray
    ratio: np.ndarray
    ratio_spread: np.ndarray

    @classmethod
    def of(cls, columns: Mapping[str, np.ndarray]) -> "BoneNorms":
        return cls(*_robust(_log(columns["length"])), *_robust(_log_ratio(columns)))


def bone_scores(columns: Mapping[str, np.ndarray], norms: BoneNorms) -> np.ndarray:
    """[N, M, K]: how many robust standard deviations a bone's log length is off; NaN where it was never seen."""
    return np.abs(_log(columns["length"]) - norms.length) / norms.length_spread


def find(
    columns: Mapping[str, np.ndarray], index: StoreIndex, layout: SkeletonLayout, fps: float
) -> dict[str, list[Finding]]:
    """Apply every rule; returns the findings of each, worst first (equal ones in the order of the names).

    Args:
        columns: of `statistics`, a row a clip.
        index: of the store, for names.
        layout: of the joints.
        fps: frames a second.
    """
    found = {
        "duplicate": _duplicates(columns, index),
        "upside_down": _postures(
            "upside_down",
            columns["upright"],
            UPSIDE_DOWN,
            "head against ankles, y of the direction",
        ),
        "swapped": _postures("swapped", columns["toes"], SWAPPED, "toes against the front, cosine"),
        **_bones(columns, layout),
        "jump": _jumps(columns, layout, fps),
        "missing_frames": _missing_frames(columns),
        "missing_joints": _missing_joints(columns, layout),
        "still": _still(columns),
        "few_frames": _few(columns),
    }
    return {
        kind: sorted(found[kind], key=lambda one: (-one.score, index.clip_id[one.clip]))
        for kind in RULES
    }


def _robust(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median and robust standard deviation over clips and persons [N, M, K] -> [K] each; NaN is no value."""
    columns = [column[~np.isnan(column)] for column in values.reshape(-1, values.shape[-1]).T]
    middle = np.array([np.median(column) if len(column) else np.nan for column in columns])
    spread = [
        1.4826 * np.median(np.abs(c - m)) if len(c) else np.nan
        for c, m in zip(columns, middle, strict=True)
    ]
    return middle, np.maximum(spread, LEAST_SPREAD)


def _log(lengths: np.ndarray) -> np.ndarray:
    """Of metres; a length of zero (two joints in one place) counts as a tenth of a millimetre."""
    return np.log(np.maximum(lengths.astype(np.float64), 1e-4))


def _log_ratio(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    return _log(columns["long"]) - _log(columns["short"])


def _duplicates(columns: Mapping[str, np.ndarray], index: StoreIndex) -> list[Finding]:
    findings = []
    for group in copies(columns["digest"]):
        names = sorted(index.clip_id[group])
        for clip in group:
            others = [name for name in names if name != index.clip_id[clip]]
            more = f" and {len(others) - 1} more" if len(others) > 1 else ""
            # Of each group the first by name leads: the first lines of a list are of different groups.
            score = len(group) + (names[0] == index.clip_id[clip]) / 2
            findings.append(Finding("duplicate", int(clip), score, f"equal to {others[0]}{more}"))
    return findings


def copies(digests: np.ndarray) -> list[np.ndarray]:
    """Clips (ids, ascending) that are equal to each other, a group each."""
    _, number, count = np.unique(digests, return_inverse=True, return_counts=True)
    some = np.flatnonzero(count[number] > 1)
    order = some[np.argsort(number[some], kind="stable")]
    return [
        group for group in np.split(order, np.flatnonzero(np.diff(number[order])) + 1) if len(group)
    ]


def _postures(kind: str, values: np.ndarray, limit: float, what: str) -> list[Finding]:
    return _where(kind, values < limit, -values, lambda clip: f"{what}: {values[clip]:.2f}")


def _bones(columns: Mapping[str, np.ndarray], layout: SkeletonLayout) -> dict[str, list[Finding]]:
    norms = BoneNorms.of(columns)
    names = [
        f"{layout.joints[joint]}-{layout.joints[parent]}".replace("_", " ")
        for joint, parent in bones(layout)
    ]
    off, ratio = _log(columns["length"]) - norms.length, _log_ratio(columns)
    score = bone_scores(columns, norms)
    wrong = (score > OUTLIER) & (np.abs(off) >= np.log(LENGTH_RATIO))
    excess = (ratio - norms.ratio) / norms.ratio_spread
    varies = (excess > OUTLIER) & (ratio >= np.log(VARIATION_RATIO))

    def length_text(clip: int, person: int, bone: int) -> str:
        return f"{columns['length'][clip, person, bone]:.2f} m, others {np.exp(norms.length[bone]):.2f} m"

    def ratio_text(clip: int, person: int, bone: int) -> str:
        here, others = np.exp(ratio[clip, person, bone]), np.exp(norms.ratio[bone])
        return f"varies {here:.1f} times within the clip, others {others:.1f} times"

    return {
        "bone_length": _worst_bones("bone_length", wrong, score, names, length_text),
        "bone_varies": _worst_bones("bone_varies", varies, excess, names, ratio_text),
    }


def _worst_bones(
    kind: str,
    wrong: np.ndarray,
    score: np.ndarray,
    names: list[str],
    text: Callable[[int, int, int], str],
) -> list[Finding]:
    """One finding a clip, of its worst bone; wrong, score [N, M, K]."""
    ranked = np.where(wrong, score, -np.inf).reshape(len(wrong), -1)
    worst = ranked.argmax(1)
    findings = []
    for clip in np.flatnonzero(wrong.any((1, 2))):
        person, bone = divmod(int(worst[clip]), len(names))
        more = int(wrong[clip].sum()) - 1
        said = f"{_whose(person)}{names[bone]} {text(clip, person, bone)}"
        said += f" (and {more} more {'bone' if more == 1 else 'bones'})" if more else ""
        findings.append(Finding(kind, int(clip), float(ranked[clip, worst[clip]]), said))
    return findings


def _whose(person: int) -> str:
    return f"person {person + 1}: " if person else ""


def _jumps(columns: Mapping[str, np.ndarray], layout: SkeletonLayout, fps: float) -> list[Finding]:
    speed, body = columns["step"] * fps, columns["body_step"] * fps

    def text(clip: int) -> str:
        whose = _whose(int(columns["step_person"][clip]))
        joint = layout.joints[columns["step_joint"][clip]].replace("_", " ")
        said = f"{whose}{joint} {speed[clip]:.0f} m/s at frame {columns['step_frame'][clip]}"
        return said + (f"; the whole body {body[clip]:.0f} m/s" if body[clip] > JUMP_SPEED else "")

    return _where("jump", speed > JUMP_SPEED, speed, text)


def _missing_frames(columns: Mapping[str, np.ndarray]) -> list[Finding]:
    empty, frames = columns["empty_frames"], columns["frames"]
    return _where(
        "missing_frames",
        empty > 0,
        empty / frames,
        lambda clip: f"{empty[clip]} of {frames[clip]} frames",
    )


def _missing_joints(columns: Mapping[str, np.ndarray], layout: SkeletonLayout) -> list[Finding]:
    missing, share = columns["missing"], missing_share(columns)

    def text(clip: int) -> str:
        which = [
            layout.joints[joint].replace("_", " ")
            for joint in np.argsort(-missing[clip], kind="stable")
        ]
        which = which[: int((missing[clip] > 0).sum())]
        more = f" and {len(which) - 3} more" if len(which) > 3 else ""
        return f"{100 * share[clip]:.2g} % of the joints: {', '.join(which[:3])}{more}"

    return _where("missing_joints", share > 0, share, text)


def missing_share(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """[N]: share of the joints of a clip's persons that are missing in frames that they are in."""
    joints = columns["missing"].shape[1]
    return columns["missing"].sum(1) / np.maximum(columns["bodies"] * joints, 1)


def _still(columns: Mapping[str, np.ndarray]) -> list[Finding]:
    extent, frames = columns["extent"], columns["frames"]
    still = (frames > 1) & (extent < STILL_METRES)
    return _where(
        "still", still, frames, lambda clip: f"{frames[clip]} frames, {1000 * extent[clip]:.2g} mm"
    )


def _few(columns: Mapping[str, np.ndarray]) -> list[Finding]:
    frames = columns["frames"]
    return _where(
        "few_frames", frames <= FEW_FRAMES, -frames, lambda clip: _count(int(frames[clip]), "frame")
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _where(
    kind: str, hit: np.ndarray, score: np.ndarray, text: Callable[[int], str]
) -> list[Finding]:
    return [
        Finding(kind, int(clip), float(score[clip]), text(clip)) for clip in np.flatnonzero(hit)
    ]
