import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stream.pairs import Pairs

seeds = st.integers(0, 2**31 - 1)


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(-1, 3)), min_size=1, max_size=40),
    seeds,
)
def test_a_partner_is_another_cameras_clip_of_the_same_performance(clips, seed):
    performance, camera = (np.array(values) for values in zip(*clips, strict=True))
    pairs = Pairs.of(performance, camera)
    for epoch in range(3):
        partners = pairs.partners(seed, epoch)
        assert np.array_equal(partners, pairs.partners(seed, epoch))
        for clip, partner in enumerate(partners):
            others = (
                (performance == performance[clip])
                & (camera != camera[clip])
                & (camera >= 0)
                & (camera[clip] >= 0)
            )
            assert others[partner] if others.any() else partner == clip
            assert pairs.others[clip] == others.sum()


def test_partners_are_drawn_evenly_anew_every_epoch_and_by_seed():
    pairs = Pairs.of(np.array(["x"] * 5 + ["y"]), np.array([2, 1, 3, 1, 2, 1]))
    drawn = np.array([pairs.partners(7, epoch) for epoch in range(3000)])
    assert (drawn[:, 5] == 5).all()
    for clip, others in ((0, (1, 2, 3)), (1, (0, 2, 4)), (2, (0, 1, 3, 4))):
        shares = np.bincount(drawn[:, clip], minlength=6)[list(others)] / 3000
        assert shares.sum() == pytest.approx(1) and np.allclose(shares, 1 / len(others), atol=0.05)
    assert not np.array_equal(drawn[:, 0], drawn[:, 4]) and not np.array_equal(drawn[0], drawn[1:])
    assert any((pairs.partners(8, epoch) != drawn[epoch]).any() for epoch in range(9))


def test_the_worked_example_of_pairs():
    pairs = Pairs.of(np.array(["x"] * 5 + ["y"]), np.array([2, 1, 3, 1, 2, 1]))
    assert pairs.sorted_clips.tolist() == [1, 3, 0, 4, 2, 5]
    of_clip_0 = (pairs.performance_start, pairs.camera_start, pairs.camera_size, pairs.others)
    assert [int(values[0]) for values in of_clip_0] == [0, 2, 2, 3]
    assert {int(pairs.partners(0, epoch)[0]) for epoch in range(50)} == {1, 2, 3}
    assert pairs.others[5] == 0 and pairs.partners(0, 0)[5] == 5
    assert pairs.paired_clips == 5
