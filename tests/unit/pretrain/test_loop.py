"""The training loop in one process, without Ray."""

import math

import pytest
import torch
from torch import distributed
from torch.distributed import HashStore
from torch.nn.parallel import DistributedDataParallel

from pipeline.config.compose import load
from pipeline.config.train import Schedule
from pipeline.core.arithmetic import ceil_div
from pipeline.encoder.build import build_framework
from pipeline.pretrain import checkpoint
from pipeline.pretrain.cadence import Position
from pipeline.pretrain.loop import (
    RECENT_ROWS,
    LoopSettings,
    LossNotFiniteError,
    TrainingLoop,
)
from pipeline.pretrain.optimiser import build_optimiser
from tests.helpers.training import Batches, Ears, OneWeight, loop_of


def test_an_update_follows_the_mean_gradient_of_its_micro_batches():
    # Slopes of 5 micro-batches, 2 to an update: means 1.5, 3.5 and 5.
    module, ears = OneWeight(lambda epoch, call: call + 1.0), Ears()
    loop_of(module, ears, epochs=1, accumulate=2, learning_rate=0.5).run(Batches(5))
    assert [row["train/gradient_norm"] for row in ears.rows] == [1.5, 3.5, 5.0]
    assert module.weight.item() == -0.5 * (1.5 + 3.5 + 5.0)
    assert module.weight.grad is None


def test_rows_come_when_due_with_the_mean_loss_since_the_last():
    module, ears = OneWeight(), Ears()
    loop_of(module, ears, epochs=2, log_every=2, learning_rate=0.5).run(Batches(3))
    # The weight before each update: 0, -0.5, -1, ...; the loss is 1 more than it.
    assert [(row["step"], row["epoch"], row["loss"]) for row in ears.rows] == [
        (2, 0, 0.75),
        (4, 1, -0.25),
        (6, 1, -1.25),
    ]
    assert [row["train/learning_rate"] for row in ears.rows] == [0.5] * 3
    assert all(row["train/clips_per_second"] > 0 and row["time"] > 1e9 for row in ears.rows)
    # Figures are asked for with the last micro-batch before a row, and only there.
    assert module.watched == [False, True] * 3
    assert all(row["collapse/deviation"] == 0.5 for row in ears.rows)


def test_checkpoints_come_when_due_after_their_row():
    ears = Ears()
    loop_of(OneWeight(), ears, epochs=2, log_every=9, checkpoint_every_steps=4).run(Batches(3))
    assert ears.heard == [("row", 4), ("checkpoint", 4), ("row", 6), ("checkpoint", 6)]
    assert list(ears.checkpoints) == [Position(1, 1, 4), Position(2, 0, 6)]
    weights = [state["framework"]["weight"].item() for state in ears.checkpoints.values()]
    assert weights == [-2.0, -3.0]


def test_the_learning_rate_falls_at_milestones_and_the_gradient_is_clipped():
    schedule = Schedule(name="step", warmup_steps=2, milestones=[1], gamma=0.1)
    module, ears = OneWeight(lambda epoch, call: 10.0), Ears()
    loop_of(module, ears, schedule=schedule, clip_norm=2.0, learning_rate=1.0).run(Batches(3))
    rates = [row["train/learning_rate"] for row in ears.rows]
    assert rates == pytest.approx([0.5, 1.0, 1.0, 0.1, 0.1, 0.1])
    # Rows tell the norm before clipping; the weight moved by the clipped one.
    assert [row["train/gradient_norm"] for row in ears.rows] == [10.0] * 6
    assert module.weight.item() == pytest.approx(-2.0 * sum(rates), rel=1e-5)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_training_before_a_row_or_checkpoint_of_it(bad):
    module, ears = OneWeight(lambda epoch, call: bad if call == 4 else 1.0), Ears()
    loop = loop_of(module, ears, epochs=3, log_every=2, checkpoint_every_steps=3)
    with pytest.raises(LossNotFiniteError, match=r"loss is not finite at step 4; lower train"):
        loop.run(Batches(3))
    assert ears.heard == [("row", 2), ("row", 3), ("checkpoint", 3), ("row", 4)]


def test_a_checkpoint_carries_the_newest_rows_and_a_resumed_one_goes_on_with_them():
    rows = RECENT_ROWS + 5
    ears = Ears()
    loop_of(OneWeight(), ears, epochs=1, learning_rate=0.0).run(Batches(rows))
    (state,) = ears.checkpoints.values()
    assert state["history"] == ears.rows[-RECENT_ROWS:]
    again = Ears()
    loop = loop_of(OneWeight(), again, epochs=2, learning_rate=0.0)
    loop.load_state(state)
    loop.run(Batches(rows), Position(1, 0, rows))
    (later,) = again.checkpoints.values()
    assert [row["step"] for row in later["history"]] == list(range(rows + 6, 2 * rows + 1))


def test_training_goes_on_at_the_micro_batch_after_the_position():
    stream, ears = Batches(5), Ears()
    loop = loop_of(OneWeight(), ears, epochs=2, accumulate=2)
    loop.run(stream, Position(0, 4, 2))
    assert stream.taken == [(0, 4), *((1, step) for step in range(5))]
    assert [row["step"] for row in ears.rows] == [3, 4, 5, 6]


SMALL = [
    "data.persons=1",
    "model.frames=8",
    "model.width=16",
    "model.heads=2",
    "model.feedforward=16",
    "views.min_frames=4",
    "train.epochs=3",
    "train.log_every=1",
    "train.schedule.warmup_steps=2",
    "train.checkpoint.every_steps=1",
]
# Soft targets that the average of the weights makes.
SOFT_TARGETS = ["objective.targets={kind: composed, encoder: average}"]


def framework_loop(config, ears):
    framework = build_framework(config)
    optimiser = build_optimiser(framework.parameters(), config.train.optimiser)
    settings = LoopSettings.of(config)
    return TrainingLoop(framework, optimiser, settings, ears, device=torch.device("cpu"))


class Disk:
    """A listener that writes every checkpoint to a folder, as `older` makes it of the state."""

    def __init__(self, folder, older=lambda state, rows: state):
        self.folder, self.older, self.rows = folder, older, []

    def row(self, row):
        self.rows.append(row)

    def checkpoint(self, position, state):
        directory = self.folder / checkpoint.directory(position.updates)
        directory.mkdir(parents=True)
        checkpoint.save(directory, position, self.older(state, self.rows))


def of_the_version_before(state, rows):
    """All rows in every checkpoint, and two keys that nobody read."""
    return state | {"history": list(rows), "config": {"name": "old", "seed": 0}, "threads": 1}


@pytest.mark.parametrize(
    "settings",
    [
        ["model.dropout=0.1"],
        ["model.dropout=0.1", "train.accumulate=2", "train.optimiser.name=sgd"],
        ["objective=umurl", "train.precision=bfloat16", "train.clip_norm=0.5"],
        ["model.feature_norm=batch"],
        ["model.feature_norm=batch", "train.average={decay: 0.9, rise: true}"],
        [*SOFT_TARGETS, "train.average={decay: 0.95, export: false}", "train.precision=bfloat16"],
    ],
    ids=["dropout", "accumulate", "umurl-bfloat16", "running-statistics", "average", "targets"],
)
@pytest.mark.parametrize("older", [lambda state, rows: state, of_the_version_before])
def test_resumed_inside_an_epoch_equals_unbroken_bit_for_bit(tmp_path, settings, older):
    config = load([*SMALL, *settings])
    joints = len(config.data.skeleton.joints)

    def batches():
        return Batches(5, joints=joints)

    torch.manual_seed(1)
    unbroken = Disk(tmp_path, older)
    whole = framework_loop(config, unbroken)
    whole.run(batches())
    # An update inside the second epoch, of the 5 (or 3, of two micro-batches each) that it has.
    updates_per_epoch = ceil_div(5, config.train.accumulate)
    resume = checkpoint.load(str(tmp_path / checkpoint.directory(updates_per_epoch + 2)))
    assert resume.position == Position(1, 2 * config.train.accumulate, updates_per_epoch + 2)

    # Another process has another random state, and other weights until it loads those.
    torch.manual_seed(2)
    resumed = Ears()
    loop = framework_loop(config, resumed)
    with torch.no_grad():
        for parameter in loop.framework.parameters():
            parameter.add_(1)
    loop.load_state(resume.state)
    loop.run(batches(), resume.position)

    expected, found = whole.framework.state_dict(), loop.framework.state_dict()
    assert expected.keys() == found.keys()
    assert [key for key in expected if not expected[key].equal(found[key])] == []

    def timeless(rows):
        clocks = ("time", "train/clips_per_second")
        return [{key: row[key] for key in row if key not in clocks} for row in rows]

    assert timeless(resumed.rows) == timeless(unbroken.rows[updates_per_epoch + 2 :])
    assert timeless(loop.state()["history"]) == timeless(unbroken.rows)
    assert loop.state().keys() == {"framework", "optimiser", "history"}


@pytest.mark.parametrize("update", [1, 3, 4])
def test_a_stop_keeps_the_step_and_the_rows_after_it_stay_the_same(tmp_path, update):
    # Rows after the updates 2, 4 and 6, a checkpoint after 4 and 6.
    changes = {"epochs": 2, "log_every": 2, "checkpoint_every_steps": 4, "learning_rate": 0.5}
    whole, unbroken = OneWeight(), Ears()
    loop_of(whole, unbroken, **changes).run(Batches(3))

    module, ears = OneWeight(), Ears()
    loop = loop_of(module, ears, stop_asked=lambda: len(module.watched) == update, **changes)
    assert loop.run(Batches(3)) is False
    assert len(module.watched) == update
    position, state = list(ears.checkpoints.items())[-1]
    assert position.updates == update and ears.heard[-1] == ("checkpoint", update)

    checkpoint.save(tmp_path, position, state)
    resumed, again = OneWeight(), Ears()
    loop = loop_of(resumed, again, **changes)
    loop.load_state(checkpoint.load(str(tmp_path)).state)
    assert loop.run(Batches(3), position) is True
    assert resumed.weight.item() == whole.weight.item()
    rows = [(row["step"], row["loss"]) for row in ears.rows + again.rows]
    assert rows == [(row["step"], row["loss"]) for row in unbroken.rows]


def test_a_stop_asked_for_in_the_last_update_is_the_end_of_training():
    module = OneWeight()
    loop = loop_of(module, Ears(), epochs=1, stop_asked=lambda: len(module.watched) == 3)
    assert loop.run(Batches(3)) is True


def test_a_loss_that_is_not_finite_leaves_no_checkpoint_at_a_stop():
    module, ears = OneWeight(lambda epoch, call: math.nan), Ears()
    loop = loop_of(module, ears, log_every=3, stop_asked=lambda: True)
    with pytest.raises(LossNotFiniteError):
        loop.run(Batches(3))
    assert ears.checkpoints == {}


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_average_follows_every_update_of_the_weights(accumulate):
    average = "train.average={decay: 0.9, rise: true}"
    config = load([*SMALL, average, f"train.accumulate={accumulate}", "train.epochs=2"])
    ears = Ears()
    loop = framework_loop(config, ears)
    key = next(name for name in loop.framework.state_dict() if name.startswith("backbone."))
    expected = loop.framework.state_dict()[key].double()
    loop.run(Batches(5, joints=len(config.data.skeleton.joints)))
    updates = 2 * ceil_div(5, accumulate)
    assert len(ears.checkpoints) == updates
    for update, state in enumerate(ears.checkpoints.values()):
        rising = 1 - 0.1 * 0.5 * (1 + math.cos(math.pi * update / updates))
        decay = min(rising, (1 + update) / (10 + update))
        weights = state["framework"]
        expected = decay * expected + (1 - decay) * weights[key].double()
        averaged = weights[key.replace("backbone.", "average.", 1)]
        torch.testing.assert_close(averaged.double(), expected, rtol=0, atol=1e-7)
        assert not averaged.equal(weights[key])


def test_settling_the_gradient_buckets_leaves_no_trace():
    average = "train.average.decay=0.9"
    config = load([*SMALL, "model.feature_norm=batch", "model.dropout=0.1", average])
    loop = framework_loop(config, Ears())
    before = {key: value.clone() for key, value in loop.framework.state_dict().items()}
    loop.settle_gradient_buckets(Batches(5, joints=len(config.data.skeleton.joints)))
    after = loop.framework.state_dict()
    assert [key for key in before if not before[key].equal(after[key])] == []
    assert all(parameter.grad is None for parameter in loop.framework.parameters())
    assert loop.optimiser.state_dict()["state"] == {}


@pytest.fixture
def process_group():
    """A group of this process alone."""
    distributed.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def test_under_distributed_data_parallel_it_trains_and_saves_the_framework_itself(process_group):
    def slope(epoch, call):
        return call + 1.0

    plain, ears = OneWeight(slope), Ears()
    loop_of(plain, ears, epochs=1, accumulate=2).run(Batches(5))
    module, again = OneWeight(slope), Ears()
    wrapped = DistributedDataParallel(module, broadcast_buffers=False)
    loop = loop_of(wrapped, again, epochs=1, accumulate=2)
    exchanges = []
    wrapped.register_comm_hook(exchanges, count)
    loop.run(Batches(5))
    assert module.weight.item() == plain.weight.item() != 0
    # Gradients are exchanged once an update, not with every micro-batch.
    assert len(exchanges) == 3
    assert loop.state()["framework"].keys() == {"weight"}


def count(exchanges, bucket):
    """Stands in for DDP's exchange of gradients among one."""
    exchanges.append(bucket.index())
    done = torch.futures.Future()
    done.set_result(bucket.buffer())
    return done
