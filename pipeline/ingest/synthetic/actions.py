"""The actions: each is a function from time and style to the angles of a pose.

Action `Aaaa` of a file name is the `aaa`-th of `ACTIONS`. They stand in such an order that the
first 6 or more hold two-person actions too.

Time runs from 0 to 1 over the clip. A movement begins around `style.early` and ends around
`style.late`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.ingest.synthetic.body import Pose


@dataclass(frozen=True)
class Style:
    """How one performance is done.

    Attributes:
        reach: size of the movement, about 1.
        cycles: how often a repeated movement is repeated.
        early: when the movement begins, as a share of the clip.
        late: when it ends.
    """

    reach: float
    cycles: int
    early: float
    late: float


# From time [T] and style to a pose of T frames.
Move = Callable[[np.ndarray, Style], Pose]


def _ramp(time: np.ndarray, start: float, end: float) -> np.ndarray:
    """Return 0 before `start`, 1 after `end`, and something smooth between."""
    share = np.clip((time - start) / (end - start), 0, 1)
    return share * share * (3 - 2 * share)


def _hold(time: np.ndarray, rise: float, fall: float, width: float = 0.15) -> np.ndarray:
    """Return a movement that goes up around `rise` and down around `fall`."""
    return _ramp(time, rise - width, rise + width) * (1 - _ramp(time, fall - width, fall + width))


def _both(channel: str, values: np.ndarray) -> Pose:
    """Return a pose that moves both sides alike."""
    return {f"{channel}_r": values, f"{channel}_l": values}


def _cycles(time: np.ndarray, style: Style) -> np.ndarray:
    """Return a swing to and fro as often as the style says."""
    return np.sin(2 * np.pi * style.cycles * time)


def _raise_hand(time: np.ndarray, style: Style) -> Pose:
    up = _hold(time, style.early, style.late) * style.reach
    return {"shoulder_abduct_r": 1.5 * up, "elbow_r": 1.2 * up, "shoulder_twist_r": -1.3 * up}


def _wave(time: np.ndarray, style: Style) -> Pose:
    pose = _raise_hand(time, style)
    swing = _hold(time, style.early, style.late) * _cycles(time, style)
    return pose | {"elbow_r": pose["elbow_r"] + 0.45 * swing, "wrist_r": 0.3 * swing}


def _clap(time: np.ndarray, style: Style) -> Pose:
    up = _hold(time, style.early, style.late, 0.12)
    swing = up * _cycles(time, style)
    return {
        **_both("shoulder_flex", 0.9 * up * style.reach),
        **_both("elbow", 1.0 * up),
        **_both("shoulder_twist", up * 0.35 + 0.3 * swing),
    }


def _push(time: np.ndarray, style: Style) -> Pose:
    up = _hold(time, style.early, style.late)
    out = _hold(time, (style.early + style.late) / 2, style.late, 0.08) * style.reach
    return {
        **_both("shoulder_flex", 0.7 * up + 0.7 * out),
        **_both("elbow", 1.7 * up - 1.5 * out),
        "lean": 0.15 * out,
    }


def _throw(time: np.ndarray, style: Style) -> Pose:
    back = _hold(time, style.early, (style.early + style.late) / 2)
    forth = _hold(time, (style.early + style.late) / 2, style.late, 0.1) * style.reach
    return {
        "shoulder_abduct_r": 1.3 * back,
        "shoulder_flex_r": 1.6 * forth - 0.3 * back,
        "shoulder_twist_r": -1.2 * back,
        "elbow_r": 1.5 * back + 0.2 * forth,
        "twist": 0.4 * forth - 0.4 * back,
    }


def _shake_hands(time: np.ndarray, style: Style) -> Pose:
    up = _hold(time, style.early, style.late) * style.reach
    swing = _hold(time, style.early, style.late) * _cycles(time, style)
    return {
        "shoulder_flex_r": 0.7 * up + 0.12 * swing,
        "elbow_r": 0.7 * up + 0.15 * swing,
        "lean": 0.1 * up,
    }


def _sit(down: np.ndarray) -> Pose:
    return {
        **_both("hip_flex", 1.4 * down),
        **_both("knee", 1.5 * down),
        **_both("shoulder_flex", 0.5 * down),
        "lean": 0.5 * np.sin(np.pi * down) + 0.05 * down,
    }


def _sit_down(time: np.ndarray, style: Style) -> Pose:
    return _sit(_ramp(time, style.early, style.late) * style.reach)


def _stand_up(time: np.ndarray, style: Style) -> Pose:
    return _sit((1 - _ramp(time, style.early, style.late)) * style.reach)


def _bow(time: np.ndarray, style: Style) -> Pose:
    return {"lean": 0.9 * _hold(time, style.early, style.late) * style.reach}


def _pick_up(time: np.ndarray, style: Style) -> Pose:
    down = _hold(time, style.early, style.late) * style.reach
    return {
        "lean": 0.9 * down,
        "shoulder_flex_r": 1.0 * down,
        **_both("hip_flex", 0.4 * down),
        **_both("knee", 0.7 * down),
    }


def _kick(time: np.ndarray, style: Style) -> Pose:
    swing = _hold(time, (style.early + style.late) / 2, style.late, 0.1) * style.reach
    back = _hold(time, style.early, (style.early + style.late) / 2, 0.12)
    return {
        "hip_flex_r": 1.2 * swing - 0.4 * back,
        "knee_r": 0.9 * back + 0.2 * swing,
        "shoulder_flex_l": 0.5 * swing,
        "lean": -0.15 * swing,
    }


def _jump(time: np.ndarray, style: Style) -> Pose:
    hop = np.abs(np.sin(np.pi * style.cycles * time)) * _hold(time, style.early, style.late)
    crouch = _hold(time, style.early, style.late) - hop
    return {
        "jump": 0.22 * hop * style.reach,
        **_both("knee", 0.9 * crouch),
        **_both("hip_flex", 0.6 * crouch),
    }


def _walk(time: np.ndarray, style: Style, metres: float) -> Pose:
    go = _hold(time, style.early, style.late)
    stride = go * _cycles(time, style)
    return {
        "hip_flex_r": 0.5 * stride,
        "hip_flex_l": -0.5 * stride,
        "knee_r": 0.4 * go - 0.3 * stride,
        "knee_l": 0.4 * go + 0.3 * stride,
        "shoulder_flex_r": -0.4 * stride,
        "shoulder_flex_l": 0.4 * stride,
        "z": metres * _ramp(time, style.early, style.late) * style.reach,
    }


def _march(time: np.ndarray, style: Style) -> Pose:
    return _walk(time, style, 0.0)


def _walk_towards(time: np.ndarray, style: Style) -> Pose:
    return _walk(time, style, 0.7)


def _walk_apart(time: np.ndarray, style: Style) -> Pose:
    return {
        **_walk(time, style, 0.7),
        "z": 0.7 * (1 - _ramp(time, style.early, style.late)) * style.reach,
    }


def _pushed(time: np.ndarray, style: Style) -> Pose:
    back = _ramp(time, (style.early + style.late) / 2, style.late)
    return {
        "z": -0.35 * back,
        "lean": -0.3 * back * (1 - _ramp(time, style.late, 1.2)),
        "knee_r": 0.4 * back,
    }


# name: what the actor does, and what a second person does meanwhile, if there is one
ACTIONS: dict[str, tuple[Move, Move | None]] = {
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
