"""From the axes and the unit of a data set to the canonical form: y up, z ahead, metres."""

import numpy as np

from pipeline.config.coordinates import Coordinates
from pipeline.ingest.source import RejectedRecording

# Coordinates beyond this are no metres.
FARTHEST = 1000


def canonical(bodies: np.ndarray, declared: Coordinates) -> np.ndarray:
    """Turn bodies into the canonical form, before anything else looks at them.

    Turning is exact: it moves and negates numbers. The unit is a multiplication in float64, like
    the bodies themselves. The store rounds to float32 once, after the preparation. A missing joint,
    which is exactly zero, stays zero.

    Args:
        bodies: float64 [N, V, 3].
        declared: the axes and the unit.

    Returns:
        float64 [N, V, 3]. The bodies themselves if they are in the canonical form already.
    """
    if declared.is_canonical:
        return bodies
    axes = [axis for axis, _ in declared.rows]
    turned = bodies[..., axes]
    for number, (_, sign) in enumerate(declared.rows):
        if sign < 0:
            # Not a negation: a zero of a missing joint would become -0, which has other bits.
            turned[..., number] = 0.0 - turned[..., number]
    if declared.metres != 1:
        turned *= declared.metres
    return turned


def require_near(bodies: np.ndarray) -> None:
    """Check that coordinates in metres are within 1 km.

    Args:
        bodies: [N, V, 3], canonical.

    Raises:
        RejectedRecording: they are not.
    """
    if np.abs(bodies).max() > FARTHEST:
        raise RejectedRecording(
            "coordinates beyond 1 km: not metres (for millimetres set data.coordinates.unit=mm)"
        )
