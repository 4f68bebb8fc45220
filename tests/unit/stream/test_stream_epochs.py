from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.core.errors import ConfigError
from pipeline.stream.epochs import Epochs, Pairs, ReadingList, RowGroups

seeds = st.integers(0, 2**31 - 1)


@st.composite
def epochs(draw, world_size):
    plan = Epochs(draw(st.integers(1, 400)), draw(st.integers(1, 90)), draw(seeds))
    assume(plan.clips // plan.steps >= world_size)
    return plan


@st.composite
def readings(draw):
    """All ranks' reading lists over a random store and a random choice of its rows, with that choice."""
    world_size = draw(st.integers(1, 4))
    rows = draw(
        st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=5), min_size=1, max_size=4)
    )
    total = sum(map(sum, rows))
    chosen = draw(st.lists(st.booleans(), min_size=total, max_size=total))
    ids = np.flatnonzero(chosen)
    assume(len(ids))
    plan = Epochs(len(ids), draw(st.integers(1, 30)), draw(seeds))
    assume(plan.clips // plan.steps >= world_size)
    groups = RowGroups.of(rows, ids)
    return rows, ids, [ReadingList(plan, groups, rank, world_size) for rank in range(world_size)]


@given(st.data(), st.integers(1, 5))
def test_shares_cut_an_epoch_into_equal_parts_without_rest(data, world_size):
    plan = data.draw(epochs(world_size))
    plan.require(world_size)
    assert plan.steps == int(np.ceil(plan.clips / plan.batch_size))
    shares = [
        [plan.share(step, rank, world_size) for rank in range(world_size)]
        for step in range(plan.steps)
    ]
    flat = [share for step in shares for share in step]
    assert flat[0][0] == 0 and flat[-1][1] == plan.clips
    assert all(before[1] == after[0] for before, after in pairwise(flat))
    batches = [step[-1][1] - step[0][0] for step in shares]
    assert max(batches) <= plan.batch_size and max(batches) - min(batches) <= 1
    for step in shares:
        sizes = [stop - start for start, stop in step]
        assert min(sizes) >= 1 and max(sizes) - min(sizes) <= 1


@given(st.data(), st.integers(1, 5))
def test_positions_count_what_a_rank_has_had(data, world_size):
    plan = data.draw(epochs(world_size))
    for rank in range(world_size):
        sizes = [np.diff(plan.share(step, rank, world_size))[0] for step in range(plan.steps)]
        assert plan.positions(rank, world_size).tolist() == [0, *np.cumsum(sizes)]


@given(st.integers(1, 300), seeds)
def test_orders_are_permutations_of_their_own(clips, seed):
    plan = Epochs(clips, 16, seed)
    first, second = plan.order(0), plan.order(1)
    assert sorted(first) == list(range(clips))
    assert np.array_equal(first, Epochs(clips, 50, seed).order(0))
    if clips > 20:
        assert not np.array_equal(first, second)
        assert not np.array_equal(first, Epochs(clips, 16, seed + 1).order(0))


def test_a_batch_that_cannot_be_shared_names_the_key():
    Epochs(10, 2, 0).require(2)
    with pytest.raises(
        ConfigError, match=r"train\.batch_size=2: 9 clips make batches of 1, too few for 2 workers"
    ):
        Epochs(9, 2, 0).require(2)


@given(readings(), st.integers(0, 3))
def test_ranks_read_every_chosen_row_once_an_epoch_where_it_lies(drawn, epoch):
    rows, ids, lists = drawn
    # Which shard and row group each row lies in, the slow way.
    places = [
        (shard, group)
        for shard, groups in enumerate(rows)
        for group, n in enumerate(groups)
        for _ in range(n)
    ]
    seen = []
    for reading in lists:
        mine = [ids[piece.start : piece.stop] for piece in reading.pieces(epoch)]
        for piece, chosen in zip(reading.pieces(epoch), mine, strict=True):
            assert len(chosen) and {places[row] for row in chosen} == {(piece.shard, piece.group)}
            assert piece.first == places.index((piece.shard, piece.group))
        assert (
            sum(map(len, mine))
            == reading.clips
            == reading.epochs.positions(reading.rank, reading.world_size)[-1]
        )
        seen += mine
    assert sorted(np.concatenate(seen)) == ids.tolist()


@given(readings(), st.data())
def test_a_part_of_the_list_is_that_part(drawn, data):
    _, ids, lists = drawn
    reading = data.draw(st.sampled_from(lists))
    start = data.draw(st.integers(0, reading.clips))
    stop = data.draw(st.integers(start, reading.clips))

    def read(*part):
        return np.concatenate(
            [ids[:0], *(ids[piece.start : piece.stop] for piece in reading.pieces(2, *part))]
        )

    assert np.array_equal(read(start, stop), read()[start:stop])
    assert np.array_equal(read(start), read()[start:])


def test_row_groups_change_their_order_every_epoch_and_run_on():
    groups = RowGroups.of([[5] * 40], np.arange(200))
    reading = ReadingList(Epochs(200, 20, 7), groups, 0, 1)
    epochs = [[piece.group for piece in reading.pieces(epoch)] for epoch in range(2)]
    assert epochs[0] != epochs[1] and sorted(epochs[0]) == sorted(epochs[1]) == list(range(40))
    endless = reading.endless(0, 100)
    assert [next(endless).group for _ in range(60)] == epochs[0][20:] + epochs[1]


@st.composite
def weighted(draw):
    """Epochs that take a part of each of several stores, and the row groups of all of them."""
    stores = draw(
        st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=6), min_size=1, max_size=3)
    )
    there = [sum(groups) for groups in stores]
    taken = [draw(st.integers(1, count)) for count in there]
    plan = Epochs(
        sum(taken), draw(st.integers(1, 12)), draw(seeds), tuple(zip(there, taken, strict=True))
    )
    return plan, RowGroups.of(stores, np.arange(sum(there)))


@given(weighted(), st.integers(0, 3))
def test_weighted_epochs_take_their_share_of_every_part_without_repeating(drawn, epoch):
    plan, groups = drawn
    reading = ReadingList(plan, groups, 0, 1)
    streamed = np.concatenate(
        [np.arange(piece.start, piece.stop) for piece in reading.pieces(epoch)]
    )
    for served in (plan.order(epoch), streamed):
        assert len(served) == len(set(served)) == plan.clips
        first = 0
        for there, taken in plan.parts:
            assert ((served >= first) & (served < first + there)).sum() == taken
            first += there


def test_weighted_epochs_draw_anew_and_reach_every_clip():
    plan = Epochs(100, 10, 3, ((60, 60), (400, 40)))
    reading = ReadingList(plan, RowGroups.of([[60], [10] * 40], np.arange(460)), 0, 1)
    for draw in (
        plan.order,
        lambda epoch: np.concatenate(
            [np.arange(piece.start, piece.stop) for piece in reading.pieces(epoch)]
        ),
    ):
        epochs = [set(draw(epoch)) for epoch in range(100)]
        assert all(set(range(60)) <= epoch for epoch in epochs)
        assert epochs[0] != epochs[1]
        assert set.union(*epochs) == set(range(460))


def test_windows_are_shuffled_differently():
    reading = ReadingList(Epochs(200, 20, 7), RowGroups.of([[200]], np.arange(200)), 0, 1)
    orders = [
        tuple(reading.shuffled(epoch, window, 50)) for epoch in range(2) for window in range(2)
    ]
    assert len(set(orders)) == 4 and all(sorted(order) == list(range(50)) for order in orders)


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
            assert pairs.count[clip] == others.sum()


def test_partners_are_drawn_evenly_anew_every_epoch_and_by_seed():
    pairs = Pairs.of(np.array(["x"] * 5 + ["y"]), np.array([2, 1, 3, 1, 2, 1]))
    drawn = np.array([pairs.partners(7, epoch) for epoch in range(3000)])
    assert (drawn[:, 5] == 5).all()
    for clip, others in ((0, (1, 2, 3)), (1, (0, 2, 4)), (2, (0, 1, 3, 4))):
        shares = np.bincount(drawn[:, clip], minlength=6)[list(others)] / 3000
        assert shares.sum() == pytest.approx(1) and np.allclose(shares, 1 / len(others), atol=0.05)
    assert not np.array_equal(drawn[:, 0], drawn[:, 4]) and not np.array_equal(drawn[0], drawn[1:])
    assert any((pairs.partners(8, epoch) != drawn[epoch]).any() for epoch in range(9))
