import numpy as np
import pytest

from pipeline.preparation import PRESETS, prepare
from pipeline.readers import RejectedRecording
from pipeline.readers.recording import RawRecording


def recording(frames, joints=5):
    """A recording of frames, each a list of bodies [V, 3]."""
    bodies = np.array([body for frame in frames for body in frame], float).reshape(-1, joints, 3)
    offsets = np.cumsum([0, *map(len, frames)])
    return RawRecording("clip", bodies, np.zeros(len(bodies), np.uint64), offsets, "performance")


def plain_agcn(frames, persons, joints=5):
    """The preset written down step by step, frame by frame, in plain Python."""
    count = len(frames)
    empty = np.zeros((joints, 3))
    slots = [[frame[m] if m < len(frame) else empty for frame in frames] for m in range(4)]

    def spread(body):
        seen = [frame for frame in body if any(value != 0 for joint in frame for value in joint)]
        total = 0.0
        for axis in range(3):
            values = [joint[axis] for frame in seen for joint in frame]
            mean = sum(values) / len(values) if values else 0.0
            total += (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5 if values else 0.0
        return total

    kept = sorted(slots, key=spread, reverse=True)[:persons]
    clip = np.zeros((count, persons, joints, 3), np.float32)
    for m, body in enumerate(kept):
        there = [bool(np.any(frame)) for frame in body]
        if not any(there):
            continue
        if not there[0]:
            body = [frame for frame, seen in zip(body, there, strict=True) if seen]
            body = body + [empty] * (count - len(body))
            there = [bool(np.any(frame)) for frame in body]
        valid = max(t for t in range(count) if there[t]) + 1
        for t in range(count):
            clip[t, m] = body[t] if t < valid else body[(t - valid) % valid]
    return clip


def random_frames(seed):
    """Bodies that come and go, change slots, are all zero, or are more than the slots; frames with nobody."""
    rng = np.random.default_rng(seed)
    people = [np.cumsum(rng.normal(0, scale, (20, 5, 3)), axis=0) for scale in rng.uniform(0.01, 1, 6)]
    frames = []
    for t in range(int(rng.integers(1, 20))):
        here = [person[t] for person in people[: rng.integers(0, 7)]]
        if rng.random() < 0.3:
            here = here[::-1]
        if here and rng.random() < 0.1:
            here[0] = np.zeros((5, 3))
        frames.append(here if rng.random() < 0.8 else [])
    return frames


@pytest.mark.parametrize("persons", [1, 2])
def test_agcn_equals_the_plain_implementation(persons):
    compared = 0
    for seed in range(150):
        frames = random_frames(seed)
        expected = plain_agcn(frames, persons)
        if not expected.any():
            with pytest.raises(RejectedRecording, match="no frame with a person"):
                prepare(recording(frames), PRESETS["agcn"], persons)
            continue
        clip, present = prepare(recording(frames), PRESETS["agcn"], persons)
        assert clip.dtype == np.float32
        assert clip.tobytes() == expected.tobytes()
        assert present == sum(bool(expected[:, m].any()) for m in range(persons))
        compared += 1
    assert compared > 100


def body(value):
    return np.arange(15.0).reshape(5, 3) * value


def seen(clip, person):
    """The factor of `body` in each frame."""
    return clip[:, person, 0, 1].tolist()


def test_agcn_keeps_the_two_with_the_largest_spread_of_the_first_four_slots():
    clip, present = prepare(recording([[body(1), body(5), body(3), body(2), body(99)]]), PRESETS["agcn"], 2)
    assert (seen(clip, 0), seen(clip, 1), present) == ([5.0], [3.0], 2)


def test_agcn_fills_the_front_and_the_tail_and_leaves_the_middle():
    middle = [[body(1)], [], [body(2)], [], []]
    assert seen(prepare(recording(middle), PRESETS["agcn"], 2)[0], 0) == [1, 0, 2, 1, 0]
    late = [[], [body(1)], [], [body(2)], []]
    assert seen(prepare(recording(late), PRESETS["agcn"], 2)[0], 0) == [1, 2, 1, 2, 1]


def test_an_absent_person_is_zeros_and_not_counted():
    clip, present = prepare(recording([[body(1)]] * 3), PRESETS["agcn"], 2)
    assert clip.shape == (3, 2, 5, 3)
    assert not clip[:, 1].any()
    assert present == 1


def test_recorded_drops_only_frames_with_nobody():
    frames = [[], [body(1), body(9)], [np.zeros((5, 3))], [body(3)], []]
    clip, present = prepare(recording(frames), PRESETS["recorded"], 1)
    assert seen(clip, 0) == [1.0, 3.0]
    assert present == 1
    assert prepare(recording(frames), PRESETS["recorded"], 2)[1] == 2


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_nobody_at_all_is_rejected(preset):
    with pytest.raises(RejectedRecording, match="no frame with a person"):
        prepare(recording([[np.zeros((5, 3))], []]), PRESETS[preset], 2)
