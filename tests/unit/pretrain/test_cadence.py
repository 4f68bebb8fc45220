import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pretrain.cadence import Cadence, Position


def cadence(**settings):
    values = {
        "micro_batches": 7,
        "accumulate": 3,
        "epochs": 2,
        "log_every": 1000,
        "checkpoint_every_epochs": None,
        "checkpoint_every_steps": None,
    }
    return Cadence(**(values | settings))


def whole(rhythm):
    """All micro-batches of a training, in order."""
    return [
        rhythm.micro_batch(epoch, step)
        for epoch in range(rhythm.epochs)
        for step in range(rhythm.micro_batches)
    ]


def test_the_last_update_of_an_epoch_takes_what_is_left():
    epoch = whole(cadence())[:7]
    assert [batch.update for batch in epoch] == [0, 0, 0, 1, 1, 1, 2]
    assert [batch.averaged_over for batch in epoch] == [3, 3, 3, 3, 3, 3, 1]
    assert [batch.step for batch in epoch if batch.ends_update] == [2, 5, 6]
    assert [batch.after for batch in epoch if batch.ends_update] == [
        Position(0, 3, 1),
        Position(0, 6, 2),
        Position(1, 0, 3),
    ]
    assert cadence().updates_per_epoch == 3 and cadence().updates == 6
    assert cadence().micro_batch(1, 0).update == 3


def due(rhythm, what):
    return [batch.after.updates for batch in whole(rhythm) if getattr(batch, what)]


@pytest.mark.parametrize(
    ("settings", "checkpoints", "rows"),
    [
        # 3 updates an epoch, 4 epochs: the end is kept whatever was asked for.
        ({}, [12], [12]),
        ({"checkpoint_every_epochs": 2}, [6, 12], [6, 12]),
        ({"checkpoint_every_steps": 5}, [5, 10, 12], [5, 10, 12]),
        ({"checkpoint_every_epochs": 3, "checkpoint_every_steps": 4}, [4, 8, 9, 12], [4, 8, 9, 12]),
        ({"log_every": 5}, [12], [5, 10, 12]),
        ({"log_every": 4, "checkpoint_every_steps": 6}, [6, 12], [4, 6, 8, 12]),
    ],
)
def test_what_is_due_after_which_update(settings, checkpoints, rows):
    rhythm = cadence(epochs=4, **settings)
    assert due(rhythm, "checkpoint_due") == checkpoints
    # Every checkpoint has a row, so that nothing of what it was trained on goes unlogged.
    assert due(rhythm, "row_due") == rows


@given(
    st.integers(1, 20),
    st.integers(1, 6),
    st.integers(1, 5),
    st.integers(1, 9),
    st.none() | st.integers(1, 4),
    st.none() | st.integers(1, 9),
)
def test_every_training_counts_its_updates_one_by_one_and_ends_with_a_checkpoint(
    micro_batches, accumulate, epochs, log_every, every_epochs, every_steps
):
    rhythm = Cadence(micro_batches, accumulate, epochs, log_every, every_epochs, every_steps)
    batches = whole(rhythm)
    ends = [batch for batch in batches if batch.ends_update]
    assert [batch.after.updates for batch in ends] == list(range(1, rhythm.updates + 1))
    assert batches[-1].after == Position(epochs, 0, rhythm.updates)
    assert batches[-1].row_due and batches[-1].checkpoint_due
    # The micro-batches of an update are averaged over their number.
    for update in range(rhythm.updates):
        mine = [batch for batch in batches if batch.update == update]
        assert {batch.averaged_over for batch in mine} == {len(mine)}
        assert [batch.ends_update for batch in mine] == [False] * (len(mine) - 1) + [True]
    assert not any(batch.row_due or batch.checkpoint_due for batch in batches if batch not in ends)
