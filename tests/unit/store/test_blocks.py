import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.store.blocks import Blocks, table_to_clips
from pipeline.store.chunks import Chunk, chunks

PERSONS, JOINTS = 2, 3
WIDTH = PERSONS * JOINTS * 3


def clip(number, frames):
    return (np.arange(frames * WIDTH, dtype=np.float32) + 1000 * number).reshape(
        frames, PERSONS, JOINTS, 3
    )


@st.composite
def columns(draw):
    """Clips, and a chunked column that holds them in slices of larger arrays, some empty."""
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=30))
    clips = [clip(number, frames) for number, frames in enumerate(lengths)]
    cuts = sorted(draw(st.lists(st.integers(0, len(clips)), max_size=5)))
    kind = draw(st.sampled_from([pa.binary(), pa.large_binary()]))
    before, after = draw(st.integers(0, 2)), draw(st.integers(0, 2))
    parts = []
    for start, stop in zip([0, *cuts], [*cuts, len(clips)], strict=True):
        others = [clip(-1, 4)]
        whole = pa.array(
            [c.tobytes() for c in others * before + clips[start:stop] + others * after], kind
        )
        parts.append(whole.slice(before, stop - start))
    return clips, pa.chunked_array(parts, kind)


@given(columns(), st.data())
def test_gather_returns_the_rows_asked_for(drawn, data):
    clips, column = drawn
    blocks = Blocks(chunks(column, WIDTH))
    assert len(blocks) == len(clips)
    rows = np.array(sorted(data.draw(st.sets(st.integers(0, len(clips) - 1), min_size=1))))
    frames, offsets = blocks.gather(rows)
    assert offsets.tolist() == np.cumsum([0, *(len(clips[row]) for row in rows)]).tolist()
    assert np.array_equal(
        frames.numpy(), np.concatenate([clips[row].reshape(-1, WIDTH) for row in rows])
    )


@given(columns())
def test_a_table_is_a_batch(drawn):
    clips, column = drawn
    batch = table_to_clips(pa.table({"joints": column}), PERSONS, JOINTS)
    assert torch.equal(batch.frames, torch.from_numpy(np.concatenate(clips)))
    assert batch.lengths.tolist() == [len(c) for c in clips]
    assert set(batch.ids.tolist()) == set(batch.labels.tolist()) == {-1}


def test_a_table_of_one_chunk_is_not_copied_and_carries_ids_and_labels():
    joints = pa.array([clip(0, 2).tobytes(), clip(1, 3).tobytes(), clip(2, 1).tobytes()])
    table = pa.table(
        {"joints": joints, "label": pa.array([4, None, 5], pa.int32()), "id": [7, 8, 9]}
    ).slice(1)
    batch = table_to_clips(table, PERSONS, JOINTS)
    assert batch.frames.data_ptr() == joints.buffers()[2].address + 2 * 4 * WIDTH
    assert batch.frames.shape == (4, PERSONS, JOINTS, 3)
    assert batch.labels.tolist() == [-1, 5] and batch.ids.tolist() == [8, 9]
    # The batch keeps the memory alive.
    del joints, table
    assert torch.equal(batch.frames[:3], torch.from_numpy(clip(1, 3)))


def test_gathered_frames_are_a_copy_and_mapped_ones_are_read_only():
    column = pa.chunked_array([[clip(0, 2).tobytes()]])
    blocks = Blocks(chunks(column, WIDTH))
    blocks.gather(np.array([0]))[0].fill_(-1)
    assert column[0].as_py() == clip(0, 2).tobytes()
    with pytest.raises(ValueError, match="read-only"):
        blocks.chunks[0].frames[0, 0] = 1


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (pa.array(["text"]), "binary column, got string"),
        (pa.array([clip(0, 1).tobytes(), None]), "1 nulls"),
        (pa.array([clip(0, 1).tobytes()[:-4]]), f"whole frames of {WIDTH} float32"),
        # Together they are whole frames.
        (
            pa.array([bytes(4 * WIDTH + 4), bytes(4 * WIDTH - 4)]),
            f"whole frames of {WIDTH} float32",
        ),
    ],
)
def test_what_is_not_a_clip_is_refused(array, message):
    with pytest.raises(ValueError, match=message):
        Chunk(array, WIDTH)


def test_no_rows_make_no_batch():
    with pytest.raises(ValueError, match="no rows"):
        table_to_clips(pa.table({"joints": pa.array([], pa.binary())}), PERSONS, JOINTS)
