from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from models.clips import ClipBatch, resample, whole
from tests.helpers.examples import examples

lengths = st.lists(st.integers(1, 40), min_size=1, max_size=6)


def slow_resample(clip: np.ndarray, start: float, span: float, frames: int) -> np.ndarray:
    """One frame after the other, in float64. clip: [N, M, V, 3]."""
    out = []
    for t in range(frames):
        at = start + min(max((t + 0.5) * span / frames - 0.5, 0.0), span - 1)
        before = int(np.floor(at))
        after = min(before + 1, len(clip) - 1)
        out.append(clip[before] + (at - before) * (clip[after] - clip[before]))
    return np.stack(out)


@examples(60)
@given(lengths=lengths, persons=st.integers(1, 3), frames=st.integers(1, 50), data=st.data())
def test_resample_equals_a_loop_over_clips_and_frames(make_clips, lengths, persons, frames, data):
    clips = make_clips(lengths, persons, joints=4)
    span = [data.draw(st.floats(1, n)) for n in lengths]
    start = [data.draw(st.floats(0, n - s)) for n, s in zip(lengths, span, strict=True)]
    start_b, span_b = (
        torch.tensor(start, dtype=torch.float64),
        torch.tensor(span, dtype=torch.float64),
    )
    views = resample(clips, start_b, span_b, frames)
    assert views.shape == (len(lengths), frames, persons, 4, 3) and views.dtype == torch.float32
    for b, first in enumerate(clips.offsets[:-1].tolist()):
        clip = clips.frames[first : first + lengths[b]].double().numpy()
        np.testing.assert_allclose(
            views[b], slow_resample(clip, start[b], span[b], frames), rtol=0, atol=3e-6
        )


@examples(40)
@given(lengths=lengths, frames=st.integers(1, 50), data=st.data())
def test_resample_of_whole_frames_is_torch_interpolate(make_clips, lengths, frames, data):
    clips = make_clips(lengths, persons=2, joints=3)
    span = [data.draw(st.integers(1, n)) for n in lengths]
    start = [data.draw(st.integers(0, n - s)) for n, s in zip(lengths, span, strict=True)]
    views = resample(clips, torch.tensor(start), torch.tensor(span), frames)
    for b, first in enumerate(clips.offsets[:-1].tolist()):
        part = clips.frames[first + start[b] : first + start[b] + span[b]].flatten(1)
        # In float64: in float32 torch rounds positions too.
        expected = interpolate(part.T[None].double(), frames, mode="linear", align_corners=False)[
            0
        ].T
        torch.testing.assert_close(views[b].flatten(1).double(), expected, rtol=0, atol=1e-5)


@examples(20)
@given(lengths=lengths, frames=st.integers(1, 50))
def test_a_clip_looks_the_same_alone_and_among_others(make_clips, pick, lengths, frames):
    clips = make_clips(lengths, persons=2, joints=5)
    together = whole(clips, frames)
    for b in range(len(clips)):
        assert torch.equal(whole(pick(clips, [b]), frames)[0], together[b])


def test_whole_leaves_a_clip_of_that_length_alone(make_clips):
    clips = make_clips([7, 32, 5], joints=4)
    assert torch.equal(whole(clips, 32)[1], clips.frames[7:39])


def test_a_clip_of_one_frame_stands_still(make_clips):
    clips = make_clips([3, 1, 2], persons=2, joints=4)
    assert torch.equal(whole(clips, 9)[1], clips.frames[3].expand(9, 2, 4, 3))


def test_a_part_never_shows_what_lies_outside_it(make_clips):
    clips = make_clips([5, 6, 5], joints=4)
    clips.frames[:5], clips.frames[11:] = 1e6, 1e6
    clips.frames[5:7], clips.frames[10] = 1e6, 1e6
    assert whole(clips, 64)[1].max() == 1e6
    part = resample(clips, torch.tensor([0, 2, 0]), torch.tensor([5, 3, 5]), 64)[1]
    assert part.abs().max() < 100


def test_frames_must_be_positive(make_clips):
    with pytest.raises(ValueError, match="frames must be at least 1, got 0"):
        whole(make_clips([3]), 0)


def test_lengths_and_owners(make_clips):
    clips = make_clips([3, 1, 2])
    assert len(clips) == 3
    assert clips.lengths.tolist() == [3, 1, 2]
    assert clips.clip_of_frame.tolist() == [0, 0, 0, 1, 2, 2]


def test_to_moves_everything(make_clips):
    moved = make_clips([3, 1, 2]).to("meta")
    assert {x.device.type for x in (moved.frames, moved.offsets, moved.ids, moved.labels)} == {
        "meta"
    }
    assert moved.frames.shape == (6, 1, 20, 3)
    assert moved.performances is None and moved.other is None
    clips = make_clips([3, 1, 2])
    whole_batch = replace(clips, performances=torch.tensor([4, 4, 1]), other=make_clips([1, 1, 1]))
    moved = whole_batch.to("meta")
    assert moved.performances.device == moved.other.frames.device == torch.device("meta")
    assert whole_batch.to("cpu").performances.tolist() == [4, 4, 1]


GOOD = {
    "frames": torch.zeros(5, 1, 20, 3),
    "offsets": torch.tensor([0, 2, 5]),
    "ids": torch.tensor([7, 8]),
    "labels": torch.tensor([-1, 3]),
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": torch.zeros(5, 1, 20, 3, dtype=torch.float64)}, "frames must be float32"),
        ({"frames": torch.zeros(5, 20, 3)}, "frames must be float32"),
        ({"frames": torch.zeros(5, 1, 20, 2)}, "frames must be float32"),
        ({"ids": torch.tensor([7.0, 8.0])}, "ids must be int64"),
        ({"offsets": torch.tensor([0, 2, 5], dtype=torch.int32)}, "offsets must be int64"),
        ({"labels": torch.tensor([[1, 2]])}, "labels must be int64 with one dimension"),
        ({"labels": torch.tensor([1])}, "got 3, 2 and 1"),
        ({"performances": torch.tensor([1.0, 2.0])}, "performances must be int64"),
        ({"performances": torch.tensor([1])}, "2 clips has as many performances, got 1"),
        ({"offsets": torch.tensor([0, 5])}, "got 2, 2 and 2"),
        ({"offsets": torch.tensor([1, 2, 5])}, "got 1 to 5"),
        ({"offsets": torch.tensor([0, 2, 4])}, "number of frames, 5, got 0 to 4"),
        ({"offsets": torch.tensor([0, 5, 5])}, "clip 8 has no frames"),
        ({"offsets": torch.tensor([0, 6, 5])}, "clip 8 has no frames"),
        (
            {"frames": torch.zeros(0, 1, 20, 3), "offsets": torch.tensor([0])}
            | {
                "ids": torch.zeros(0, dtype=torch.int64),
                "labels": torch.zeros(0, dtype=torch.int64),
            },
            "B >= 1",
        ),
    ],
)
def test_a_batch_that_makes_no_sense_is_refused(change, message):
    ClipBatch(**GOOD)
    with pytest.raises(ValueError, match=message):
        ClipBatch(**(GOOD | change))
