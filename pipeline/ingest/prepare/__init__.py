"""From the bodies of a recording to the persons of a clip. Presets have names, which data record.

Numbers measured on differently prepared data are not comparable. Coordinates stay as recorded:
centring and alignment happen later, on the device.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.ingest.prepare.agcn import SLOTS, agcn
from pipeline.ingest.prepare.ctrgcn import NOISY_SHARE, NOISY_SPREAD, SHORT, ctrgcn
from pipeline.ingest.prepare.slots import recorded, untrimmed
from pipeline.ingest.recording import RawRecording
from pipeline.ingest.source import RejectedRecording


@dataclass(frozen=True)
class Preset:
    """A way to prepare clips.

    Attributes:
        name: as configured.
        apply: from a recording and M, its persons, to [T, M, V, 3].
        parameters: the numbers in it, which the store records.
    """

    name: str
    apply: Callable[[RawRecording, int], np.ndarray]
    parameters: dict[str, Any] = field(default_factory=dict)


def prepare(recording: RawRecording, preset: Preset, persons: int) -> tuple[np.ndarray, int]:
    """Prepare a clip.

    Args:
        recording: as recorded.
        preset: the way to do it.
        persons: M.

    Returns:
        Its coordinates, float32 [T, M, V, 3] in metres, and how many of its persons are ever there.

    Raises:
        RejectedRecording: nobody is left in any frame.
    """
    clip = preset.apply(recording, persons).astype(np.float32)
    present = np.asarray(clip.any(axis=(0, 2, 3)))
    if not present.any():
        raise RejectedRecording("no frame with a person")
    return clip, int(present.sum())


PRESETS: dict[str, Preset] = {
    "agcn": Preset("agcn", agcn, {"slots": SLOTS}),
    "ctrgcn": Preset(
        "ctrgcn",
        ctrgcn,
        {"short_frames": SHORT, "noisy_spread": NOISY_SPREAD, "noisy_share": NOISY_SHARE},
    ),
    "recorded": Preset("recorded", recorded),
    "untrimmed": Preset("untrimmed", untrimmed),
}
