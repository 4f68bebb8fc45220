"""Presets against plain implementations: frame by frame, with dictionaries by body id, no numpy.

The plain ones also say which of their branches a recording took, so that the tests know what they
compared.
"""

from collections import Counter
from functools import cache

import numpy as np
import pytest

from pipeline.ingest.prepare import PRESETS, prepare
from pipeline.ingest.recording import RawRecording
from pipeline.ingest.source import RejectedRecording

JOINTS = 5
ID = 72057594037931101  # as float64, its neighbours are the same number


def recording(frames, ids=None):
    """A recording of frames, each a list of bodies [V, 3], and their ids; without, a body's id is
    its slot."""
    bodies = [body for frame in frames for body in frame]
    ids = [range(len(frame)) for frame in frames] if ids is None else ids
    joints = len(bodies[0]) if bodies else JOINTS
    return RawRecording(
        "clip",
        np.array(bodies, float).reshape(-1, joints, 3),
        np.array([name for frame in ids for name in frame], np.uint64),
        np.cumsum([0, *map(len, frames)]),
        "performance",
    )


@cache  # the same for every preset and number of persons, which leave them as they are
def random_people(seed, joints=JOINTS):
    """Frames and ids of people who come and go, swap ids, change slots, stand still, fly about; of
    noise and damage."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 60)) if rng.random() < 0.95 else 1
    half = count // 2
    times = np.arange(count)
    tracks, there = [], []
    for _ in range(rng.choice([1, 2, 3, 4, 6], p=[0.15, 0.35, 0.25, 0.15, 0.1])):
        pose = rng.normal([0, 0, 3], 0.05, (joints, 3))
        pose[0, 1] += rng.uniform(0.3, 2)
        steps = rng.normal(0, rng.choice([1e-4, 0.02, 0.1, 0.5]), (count, 1, 3))
        track = pose + np.cumsum(steps, axis=0) + rng.normal(0, 1e-3, (count, joints, 3))
        middle = track.mean(axis=1, keepdims=True)
        noisy = rng.random(count) < rng.choice([0, 0.2, 0.65, 0.75, 1], p=[0.5, 0.2, 0.1, 0.1, 0.1])
        lying, blown_up = [1, 0.01, 1], [20, 1, 1]
        track[noisy] = (middle + (track - middle) * (lying if rng.random() < 0.5 else blown_up))[
            noisy
        ]
        late = int(rng.integers(count))
        spans = [
            (0, count),
            (0, half + 1),
            (half, count),
            (late, count),
            (0, late),
            (late, late + 13),
        ]
        start, end = spans[rng.choice(6, p=[0.4, 0.15, 0.15, 0.1, 0.1, 0.1])]
        gap = abs(times - rng.integers(count)) < rng.choice([0, 3], p=[0.7, 0.3])
        tracks.append(track)
        there.append((start <= times) & (times < end) & ~gap)
    names = [ID + int(number) for number in rng.permutation(len(tracks))]
    swap = rng.choice([half, count], p=[0.2, 0.8])
    empty, reordered, twice, zero = rng.random(4) < [0.2, 0.5, 0.1, 0.15]
    frames, ids = [], []
    for t in range(count):
        here = [
            (track[t], name)
            for track, seen, name in zip(tracks, there, names, strict=True)
            if seen[t]
        ]
        if t == swap:
            names.reverse()
        if empty and t % 7 == 3:
            here = []
        if reordered and t % 3:
            here.reverse()
        if twice and here and t % 5 == 2:
            here.append((here[0][0] + 1, here[0][1]))
        if zero and here and (t < 4 or t % 9 == 1):
            here[-1] = (np.zeros((joints, 3)), here[-1][1])
        frames.append([body for body, _ in here])
        ids.append([name for _, name in here])
    return frames, ids


def plain_agcn(frames, ids, persons):  # noqa: C901 - as plain as the reference
    """What 2s-AGCN's preparation does, and which of its branches it took."""
    count, joints = (
        len(frames),
        max((len(body) for frame in frames for body in frame), default=JOINTS),
    )
    took = {"a fifth slot"} if any(len(frame) > 4 for frame in frames) else set()
    nobody = [[0.0] * 3] * joints
    slots = [
        [frame[m].tolist() if m < len(frame) else nobody for frame in frames] for m in range(4)
    ]

    def there(body):
        return any(value != 0 for joint in body for value in joint)

    def spread(slot):
        total = 0.0
        for axis in range(3):
            values = [joint[axis] for body in slot if there(body) for joint in body]
            mean = sum(values) / len(values) if values else 0.0
            total += (
                (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5
                if values
                else 0.0
            )
        return total

    kept = sorted(slots, key=spread, reverse=True)[:persons]
    if kept != slots[:persons]:
        took.add("another order")
    if any(there(body) for slot in slots if slot not in kept for body in slot):
        took.add("a smaller one left out")
    clip = np.zeros((count, persons, joints, 3), np.float32)
    for m, slot in enumerate(kept):
        if not any(map(there, slot)):
            took.add("nobody in it")
            continue
        if not there(slot[0]):
            took.add("front closed")
            slot = [body for body in slot if there(body)]
            slot = slot + [nobody] * (count - len(slot))
        valid = max(t for t in range(count) if there(slot[t])) + 1
        if valid < count:
            took.add("tail filled" if count <= 2 * valid else "tail filled more than once")
        if not all(map(there, slot[:valid])):
            took.add("gap left")
        for t in range(count):
            clip[t, m] = slot[t % valid]
    return clip, took


def plain_ctrgcn(frames, ids, persons):  # noqa: C901 - as plain as the reference
    """What CTR-GCN's preparation does, and which of its branches it took; the clip is None where
    nobody is left."""
    took = set()
    tracks, motions = {}, {}
    time = -1
    for frame, names in zip(frames, ids, strict=True):
        if not frame:
            took.add("empty frame")
            continue
        time += 1
        seen = set()
        somebody = any(np.any(body) for body in frame)
        for body, name in zip(frame, names, strict=True):
            if somebody and not np.any(body):
                took.add("place kept")
                continue
            if name in seen:
                took.add("one id twice")
                continue
            seen.add(name)
            start, poses = tracks.setdefault(name, (time, []))
            if start + len(poses) < time:
                took.add("gap closed")
            poses.append(np.float32(body).tolist())

    def noisy(pose):
        xs, ys = [joint[0] for joint in pose], [joint[1] for joint in pose]
        return float(np.float32(max(xs) - min(xs))) > 0.8 * float(np.float32(max(ys) - min(ys)))

    def motion(poses):
        total = 0.0
        for axis in range(3):
            values = [joint[axis] for pose in poses for joint in pose]
            mean = sum(values) / len(values)
            total += sum((value - mean) ** 2 for value in values) / len(values)
        return total

    alone = len(tracks) == 1
    if alone:
        took.add("alone")
        (name,) = tracks
        took |= {"alone and short"} if len(tracks[name][1]) <= 11 else set()
        took |= {"alone and noisy"} if all(map(noisy, tracks[name][1])) else set()
    else:
        for name, (_, poses) in list(tracks.items()):
            if len(poses) <= 11:
                took.add("short")
                del tracks[name]
        if not tracks:
            return None, took | {"all short"}
        for name, (_, poses) in list(tracks.items()):
            if len(tracks) == 1:
                took |= {"last one noisy"} if all(map(noisy, poses)) else set()
                break
            clean = [pose for pose in poses if not noisy(pose)]
            if (len(poses) - len(clean)) / len(poses) >= 0.69754:
                took.add("noisy")
                del tracks[name]
                continue
            motions[name] = min(motion(poses), motion(clean))
            took |= {"less motion when clean"} if motion(clean) < motion(poses) else set()
            took |= {"more motion when clean"} if motion(clean) > motion(poses) else set()
    order = list(tracks) if len(tracks) == 1 else sorted(tracks, key=lambda name: -motions[name])

    nobody = np.zeros((len(frames[0][0]) if frames[0] else JOINTS, 3), np.float32)
    clip = [[None] * persons for _ in range(time + 1)]
    first, last = {}, {}
    for name in order:
        start, poses = tracks[name]
        end = start + len(poses) - 1
        for m in range(persons):
            if m not in first and m == 0:
                first[m], last[m] = start, end
            elif m not in first:
                first[m], last[m] = 0, end
            elif end <= first[m] or start >= last[m]:
                took.add(f"joins person {m}")
                first[m], last[m] = min(start, first[m]), max(end, last[m])
            else:
                continue
            for t, pose in enumerate(poses, start):
                took |= {"a frame shared"} if clip[t][m] else set()
                clip[t][m] = pose
            if name != order[0]:
                took |= {"still, and kept"} if motions[name] < 0.089925 else set()
                took |= {"wild, and kept"} if motions[name] > 2 else set()
            break
        else:
            took.add("left out")
    if not alone:
        left = [frame for frame in clip if any(np.any(pose) for pose in frame if pose)]
        took |= {"frame without a person"} if len(left) < len(clip) else set()
        clip = left
    elif not all(np.any(frame[0]) for frame in clip):
        took.add("alone and zero")
    filled = [[nobody if pose is None else pose for pose in frame] for frame in clip]
    return np.array(filled, np.float32).reshape(-1, persons, *nobody.shape), took


PLAIN = {"agcn": plain_agcn, "ctrgcn": plain_ctrgcn}


def branches(preset, persons):
    """What the recordings have to reach."""
    if preset == "agcn":
        front, tail = {"front closed", "gap left"}, {"tail filled", "tail filled more than once"}
        return (
            front
            | tail
            | {"a fifth slot", "another order", "a smaller one left out", "nobody in it"}
        )
    damage = {"empty frame", "one id twice", "gap closed", "frame without a person", "place kept"}
    alone = {"alone", "alone and short", "alone and noisy", "alone and zero"}
    dropped = {"short", "all short", "noisy", "last one noisy", "left out"}
    ranked = {
        "less motion when clean",
        "more motion when clean",
        "still, and kept",
        "wild, and kept",
    }
    return (
        damage
        | alone
        | dropped
        | ranked
        | {"a frame shared"}
        | {f"joins person {m}" for m in range(persons)}
    )


@pytest.mark.parametrize("persons", [1, 2, 3])
@pytest.mark.parametrize("preset", sorted(PLAIN))
def test_a_preset_equals_the_plain_implementation(preset, persons):
    taken, lengths = set(), Counter()
    for seed in range(700):
        frames, ids = random_people(seed)
        expected, took = PLAIN[preset](frames, ids, persons)
        taken |= took
        if expected is None or not expected.any():
            with pytest.raises(RejectedRecording):
                prepare(recording(frames, ids), PRESETS[preset], persons)
            continue
        clip, present = prepare(recording(frames, ids), PRESETS[preset], persons)
        assert clip.dtype == np.float32
        assert clip.shape == expected.shape, seed
        assert clip.tobytes() == expected.tobytes(), seed
        assert present == sum(bool(expected[:, m].any()) for m in range(persons))
        lengths[len(clip)] += 1
    assert taken == branches(preset, persons)
    assert lengths.total() > 250
    assert lengths[1] > 5


def body(value):
    return np.arange(15.0).reshape(5, 3) * value


def seen(clip, person):
    """The factor of `body` in each frame."""
    return clip[:, person, 0, 1].tolist()


def test_agcn_keeps_the_two_with_the_largest_spread_of_the_first_four_slots():
    clip, present = prepare(
        recording([[body(1), body(5), body(3), body(2), body(99)]]), PRESETS["agcn"], 2
    )
    assert (seen(clip, 0), seen(clip, 1), present) == ([5.0], [3.0], 2)


def test_agcn_fills_the_front_and_the_tail_and_leaves_the_middle():
    middle = [[body(1)], [], [body(2)], [], []]
    assert seen(prepare(recording(middle), PRESETS["agcn"], 2)[0], 0) == [1, 0, 2, 1, 0]
    late = [[], [body(1)], [], [body(2)], []]
    assert seen(prepare(recording(late), PRESETS["agcn"], 2)[0], 0) == [1, 2, 1, 2, 1]


def test_agcn_has_no_more_persons_than_slots():
    clip, present = prepare(
        recording([[body(value) for value in (1, 2, 3, 4, 5)]]), PRESETS["agcn"], 6
    )
    assert [seen(clip, m) for m in range(6)] == [[4.0], [3.0], [2.0], [1.0], [0.0], [0.0]]
    assert present == 4


def crowd(*people):
    """A recording of people, each (first frame, its bodies); ids in their order."""
    count = max(start + len(bodies) for start, bodies in people)
    here = [
        [
            (m, bodies[t - start])
            for m, (start, bodies) in enumerate(people)
            if 0 <= t - start < len(bodies)
        ]
        for t in range(count)
    ]
    return recording(
        [[body for _, body in frame] for frame in here],
        [[ID + m for m, _ in frame] for frame in here],
    )


def figure(width, height=2.0, at=0.0):
    """A body of that width and height, whose joint 4 is at (at, 0, 1)."""
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1], [0, 0, 1]])
    return corners + np.array([at, 0, 0])


def person(clip, m):
    """Where the figure of a person is in each frame, None where it is not there."""
    return [round(float(frame[m, 4, 0]), 3) if frame[m].any() else None for frame in clip]


def ctrgcn(*people, persons=2):
    return prepare(crowd(*people), PRESETS["ctrgcn"], persons)[0]


def moving(frames, step, width=1.0, start=0.0):
    return [figure(width, at=start + step * t) for t in range(frames)]


def test_ctrgcn_drops_bodies_of_up_to_11_frames_unless_they_are_alone():
    long = moving(20, 0.01)
    assert (
        ctrgcn((0, long), (0, moving(12, 1)))[:, 1].any(axis=(1, 2)).sum() == 20
    )  # more motion: the other is second
    assert not ctrgcn((0, long), (0, moving(11, 1)))[:, 1].any()
    assert len(ctrgcn((0, moving(1, 1)))) == 1
    with pytest.raises(
        RejectedRecording, match="2 bodies, none of them there for more than 11 frames"
    ):
        ctrgcn((0, moving(11, 1)), (3, moving(4, 1)))


def test_ctrgcn_drops_wide_bodies_that_are_so_in_0_69754_of_their_frames():
    def wide(noisy, frames):
        """The second body moves most; it is too wide in some frames."""
        bodies = moving(frames, 0.1)
        bodies[:noisy] = [figure(1.7, at=0.1 * t) for t in range(noisy)]
        return person(ctrgcn((0, moving(frames, 0.01, start=50)), (0, bodies)), 0)[0]

    assert wide(30, 43) == 50  # 0.69767
    assert wide(53, 76) == 0  # 0.69737
    # A width of exactly 0.8 heights is not too wide.
    calm = (0, moving(20, 0.01, start=50))
    assert person(ctrgcn(calm, (0, [figure(1.0, 1.25, 9 * t) for t in range(20)])), 0)[0] == 0
    assert person(ctrgcn(calm, (0, [figure(1.0, 1.249, 9 * t) for t in range(20)])), 0)[0] == 50


def test_ctrgcn_keeps_the_last_body_however_noisy():
    first, second = moving(20, 0.5, width=9), moving(20, 0.01, width=9, start=50)
    assert person(ctrgcn((0, first), (0, second)), 0)[0] == 50  # in the order in which they appear
    assert person(ctrgcn((0, second), (0, first)), 0)[0] == 0


def test_ctrgcn_ranks_by_motion_and_filters_none_by_it():
    still, wild = [figure(0.1, 0.2, 7)] * 20, moving(20, 30)
    clip = ctrgcn((0, still), (0, wild))
    assert person(clip, 0)[:2] == [0, 30]
    assert person(clip, 1) == [7] * 20


def test_ctrgcn_tells_ids_apart_that_are_equal_as_float64():
    assert float(ID) == float(ID + 1)
    assert person(ctrgcn((0, moving(20, 0.01)), (0, moving(20, 0.5, start=50))), 1)[0] == 0


def test_ctrgcn_deals_bodies_to_persons_by_their_spans():
    most, later, beside = moving(20, 3), moving(15, 2, start=500), moving(15, 1, start=900)
    clip = ctrgcn((0, most), (19, later), (10, beside))
    # `later` shares one frame with `most` and gets it; `beside` overlaps with both.
    assert person(clip, 0) == [3 * t for t in range(19)] + [500 + 2 * t for t in range(15)]
    assert person(clip, 1) == [None] * 10 + [900 + t for t in range(15)] + [None] * 9
    # Person 1 counts as there from frame 0: the fourth body is left out, though nobody is there in
    # its frames.
    early = ctrgcn((20, most), (25, beside), (0, moving(22, 0.5, start=300)))
    assert not (early[:, 1, 4, 0] == 300).any()
    assert len(early) == 20


def test_ctrgcn_with_one_person_has_the_frames_of_that_person():
    people = (5, moving(20, 3)), (0, moving(40, 0.5, start=300))
    assert person(ctrgcn(*people, persons=1), 0) == [3 * t for t in range(20)]
    assert len(ctrgcn(*people, persons=2)) == 40


def test_ctrgcn_closes_gaps():
    there = [figure(1.0, at=t) for t in range(20)]
    frames = [[one] for one in there[:8]] + [[]] + [[one] for one in there[8:]]
    assert person(prepare(recording(frames), PRESETS["ctrgcn"], 2)[0], 0) == list(range(20))
    # One away for frames 8 and 9 of another moves forward by two.
    other = [figure(1.0, at=100 + t / 100) for t in range(22)]
    ids = [[ID] + [ID + 1] * (t not in (8, 9)) for t in range(22)]
    frames = [[other[t]] + [there[t - 2 * (t > 8)]] * (t not in (8, 9)) for t in range(22)]
    clip = prepare(recording(frames, ids), PRESETS["ctrgcn"], 2)[0]
    assert person(clip, 0) == [*range(20), None, None]
    assert len(clip) == 22


def test_ctrgcn_takes_the_first_of_two_bodies_with_one_id():
    frames = [[figure(1.0, at=t), figure(1.0, at=-t)] for t in range(5)]
    assert person(prepare(recording(frames, [[ID, ID]] * 5), PRESETS["ctrgcn"], 2)[0], 0) == [
        0,
        1,
        2,
        3,
        4,
    ]


def test_ctrgcn_passes_over_zeros_that_keep_the_place_of_somebody_away():
    """As arrays and PKU-MMD have them: the first of two is away half of the time, and moves less
    than the second."""
    still, zero = figure(1.0), np.zeros_like(figure(1.0))
    other = [figure(1.0, at=t) for t in range(40)]
    frames = [[still if t < 20 else zero, other[t]] for t in range(40)]
    clip = prepare(recording(frames, [[0, 1]] * 40), PRESETS["ctrgcn"], 2)[0]
    assert person(clip, 0) == list(range(40))


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


def test_untrimmed_keeps_every_frame():
    frames = [[], [body(1), body(9)], [np.zeros((5, 3))], [body(3)], []]
    clip, present = prepare(recording(frames), PRESETS["untrimmed"], 1)
    assert seen(clip, 0) == [0.0, 1.0, 0.0, 3.0, 0.0]
    assert present == 1


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("frames", [[[np.zeros((5, 3))], []], [[], []]])
def test_nobody_at_all_is_rejected(preset, frames):
    with pytest.raises(RejectedRecording, match="no frame with a person"):
        prepare(recording(frames), PRESETS[preset], 2)


def test_the_numbers_in_a_preset_are_recorded():
    assert {name: preset.parameters for name, preset in PRESETS.items()} == {
        "agcn": {"slots": 4},
        "ctrgcn": {"short_frames": 11, "noisy_spread": 0.8, "noisy_share": 0.69754},
        "recorded": {},
        "untrimmed": {},
    }
