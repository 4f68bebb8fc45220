"""Exact copies are found by what clips hold."""

import numpy as np
import pyarrow as pa

from pipeline.store.copies import copied_from, digests, groups_of_copies


def test_digests_are_equal_for_equal_bytes_alone():
    clip = np.random.default_rng(0).normal(size=(6, 2, 25, 3)).astype(np.float32)
    other = clip.copy()
    other[3, 0, 0, 0] += 1e-3
    found = digests([clip.tobytes(), other.tobytes(), memoryview(clip.tobytes())])
    assert found.dtype == np.uint64
    assert found[0] == found[2] != found[1]
    assert digests([pa.scalar(clip.tobytes()).as_buffer()])[0] == found[0]
    assert len(digests([])) == 0


def test_groups_hold_two_clips_or_more():
    groups = groups_of_copies(np.array(["a", "b", "a", "c", "b", "a"]))
    assert [group.tolist() for group in groups] == [[0, 2, 5], [1, 4]]
    assert groups_of_copies(np.array([3, 1, 2])) == []


def test_a_copy_of_a_clip_of_its_own_side_is_none():
    clips = np.array([7, 7, 8, 9], np.uint64)
    assert copied_from(clips, np.array([9, 1], np.uint64)).tolist() == [False, False, False, True]
