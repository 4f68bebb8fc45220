from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.core.errors import ConfigError
from pipeline.stream.epochs import Epochs
from pipeline.stream.reading_list import ReadingList, RowGroups

seeds = st.integers(0, 2**31 - 1)


@st.composite
def epochs(draw, world_size):
    plan = Epochs(draw(st.integers(1, 400)), draw(st.integers(1, 90)), draw(seeds))
    assume(plan.clips // plan.steps >= world_size)
    return plan


@st.composite
def readings(draw):
    """A random store, a random choice of its rows, and the reading lists of all ranks."""
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


def test_the_worked_example_of_an_epoch():
    """7 clips, batches of 3, 2 workers, as the module's docstring draws them."""
    plan = Epochs(7, 3, 0)
    assert plan.steps == 3
    assert [plan.batch(step) for step in range(3)] == [(0, 2), (2, 4), (4, 7)]
    assert [plan.share(step, 0, 2) for step in range(3)] == [(0, 1), (2, 3), (4, 5)]
    assert [plan.share(step, 1, 2) for step in range(3)] == [(1, 2), (3, 4), (5, 7)]
    assert plan.positions(1, 2).tolist() == [0, 1, 2, 4]


def test_the_worked_example_of_row_groups():
    groups = RowGroups.of([[4, 4, 4]], np.array([1, 2, 9]))
    assert (groups.shard.tolist(), groups.group.tolist()) == ([0, 0], [0, 2])
    assert (groups.first.tolist(), groups.start.tolist()) == ([0, 8], [0, 2, 3])


def test_the_worked_example_of_a_reading_list():
    """Row groups of 3, 2 and 2 clips, in an epoch whose order is 2 0 1."""
    groups = RowGroups.of([[3, 2, 2]], np.arange(7))
    lists = [ReadingList(Epochs(7, 3, 0), groups, rank, 2) for rank in range(2)]
    assert [reading.range for reading in lists] == [(0, 3), (3, 7)]

    def read(reading, epoch):
        return [(piece.group, piece.start, piece.stop) for piece in reading.pieces(epoch)]

    (epoch,) = [
        epoch
        for epoch in range(50)
        if [group for group, *_ in read(lists[0], epoch)] == [2, 0]
        and [group for group, *_ in read(lists[1], epoch)] == [0, 1]
    ][:1]
    assert read(lists[0], epoch) == [(2, 5, 7), (0, 0, 1)]
    assert read(lists[1], epoch) == [(0, 1, 3), (1, 3, 5)]


def test_the_worked_example_of_what_is_taken_of_row_groups():
    sizes = np.array([3, 2, 4, 2])
    begins = np.cumsum(sizes) - sizes
    reading = ReadingList(Epochs(5, 3, 0, ((11, 5),)), RowGroups.of([sizes], np.arange(11)), 0, 1)
    assert reading._taken(begins, sizes).tolist() == [3, 2, 0, 0]
    assert sizes.tolist() == [3, 2, 4, 2]
