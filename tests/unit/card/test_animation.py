"""Animations show a clip as it was recorded, and are small."""

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.card.animation import MOST_BYTES, MOST_FRAMES, gif
from tests.helpers.planted import FPS, STANDING, person


def frames_of(data: bytes) -> list[np.ndarray]:
    image = Image.open(io.BytesIO(data))
    frames = []
    for number in range(image.n_frames):
        image.seek(number)
        frames.append(np.asarray(image.convert("RGB")).astype(int))
    return frames


@pytest.mark.parametrize(("length", "shown"), [(1, 1), (12, 12), (200, MOST_FRAMES)])
def test_animations_have_the_frames_of_the_clip(layout, length, shown):
    clip = person(layout, np.random.default_rng(0), length)[:, None].astype(np.float32)
    data = gif(clip, "walk $x_ <b>", layout, FPS)
    frames = frames_of(data)
    assert len(frames) == shown and len(data) < MOST_BYTES
    assert all((frame != frames[0]).any() for frame in frames[1:])
    duration = Image.open(io.BytesIO(data)).info.get("duration", 0)
    assert abs(duration * shown - 1000 * length / FPS) <= 10 * shown


def test_animations_of_crowds_are_small(layout):
    random = np.random.default_rng(0)
    clip = random.normal(size=(300, 4, layout.num_joints, 3)).astype(np.float32)
    data = gif(clip, "noise", layout, FPS)
    assert len(data) < MOST_BYTES and len(frames_of(data)) > 4


def test_animations_show_left_and_right_where_they_are(layout):
    clip = np.array([STANDING[name] for name in layout.joints], np.float32)[
        None, None
    ] + np.float32(0.01)
    picture = frames_of(gif(clip, "", layout, FPS))[0]
    half = picture[60:, : picture.shape[1] // 2]  # the view from the front, below the words
    blue = np.argwhere(half[..., 2] - half[..., 0] > 90)
    orange = np.argwhere(half[..., 0] - half[..., 2] > 90)
    assert len(blue) > 50 and len(orange) > 50
    assert blue[:, 1].max() < orange[:, 1].min()  # left has smaller x, and x points right
    dark = np.argwhere(half.max(-1) < 90)
    assert dark[:, 0].min() < min(blue[:, 0].min(), orange[:, 0].min())  # the head is on top


def test_a_clip_of_nothing_has_an_animation(layout):
    assert (
        len(
            frames_of(gif(np.zeros((4, 2, layout.num_joints, 3), np.float32), "empty", layout, FPS))
        )
        >= 1
    )
