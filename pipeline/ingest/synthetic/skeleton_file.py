"""The text of a `.skeleton` file, as NTU RGB+D has it (see `pipeline.ingest.formats.ntu`)."""

import numpy as np

from pipeline.ingest.synthetic.body import JOINTS

# x y z, depth x y, colour x y, orientation (not simulated), tracking state
_JOINT_LINE = "%.6f %.6f %.6f %.3f %.3f %.2f %.2f 0 0 0 0 %d\r\n"
_BODY_TEXT = "%d 0 1 0 1 0 0 %.6f %.6f 2\r\n25\r\n" + _JOINT_LINE * JOINTS

# Focal length and centre of Kinect v2's two images, in pixels.
DEPTH_FOCAL = 365
DEPTH_CENTRE = (256, 212)
COLOUR_FOCAL = 1060
COLOUR_CENTRE = (960, 540)


def skeleton_text(
    listed: list[list[int]], joints: np.ndarray, state: np.ndarray, ids: list[int]
) -> bytes:
    """Return the text of a `.skeleton` file.

    Args:
        listed: for every frame the persons that the file lists, in that order. May be none.
        joints: [T, M, 25, 3] in camera space.
        state: tracking states [T, M, 25].
        ids: the body id of each person.
    """
    depth = joints[..., 2:].clip(0.5)
    image = joints[..., :2] / depth * (1, -1)
    in_depth = image * DEPTH_FOCAL + DEPTH_CENTRE
    in_colour = image * COLOUR_FOCAL + COLOUR_CENTRE
    fields = np.concatenate([joints, in_depth, in_colour, state[..., None]], axis=-1)
    rows = fields.reshape(*fields.shape[:2], -1).tolist()  # [T][M][25 * 8]
    text = [f"{len(listed)}\r\n"]
    for frame, persons in zip(rows, listed, strict=True):
        text.append(f"{len(persons)}\r\n")
        for person in persons:
            values = frame[person]
            lean = (values[0] / 5, values[1] / 5)
            text.append(_BODY_TEXT % (ids[person], *lean, *values))
    return "".join(text).encode()
