"""The thread that follows training, with a plain queue for the workers' channel."""

import queue
import threading
import time

import pytest
from ray.exceptions import RayActorError

from pipeline.core.errors import UserError
from pipeline.core.termination import Terminated
from pipeline.pretrain import follower as follower_module
from pipeline.pretrain.cadence import Position
from pipeline.pretrain.follower import Follower, progress
from pipeline.pretrain.history import History
from pipeline.pretrain.messages import (
    CheckpointWritten,
    RowLogged,
    TrainingBegan,
    TrainingFailed,
    TrainingStopped,
)
from pipeline.runs.metric_rows import read_rows


class Remembers:
    """A history, a bar and a watch in one, which remember what they are told."""

    def __init__(self, figures=None, reachable=True, writable=True):
        self.figures, self.reachable, self.writable = figures, reachable, writable
        self.rows, self.added, self.texts, self.offers, self.calls = [], [], [], [], []

    def extend(self, rows):
        self.rows += rows
        self._flush()

    def add(self, step, figures):
        self.added.append((step, figures))
        self._flush()

    def send(self):
        if not self.reachable:
            raise UserError("tracking.uri=http://away: cannot be used")

    def write(self):
        self.calls.append("write")
        self._flush()

    def _flush(self):
        if not self.writable:
            raise UserError("metrics.jsonl: cannot be written (disk full)")

    def update(self, done, text):
        self.texts.append((done, text))

    def offer(self, uri, epoch, step):
        self.offers.append((uri, epoch, step))

    def poll(self, seconds):
        self.calls.append(f"poll {seconds}")
        if seconds:
            return self.figures
        return None

    def close(self):
        self.calls.append("close")


class Broken(queue.Queue):
    def get_nowait(self):
        raise RayActorError


def row(step):
    return {
        "loss": 1.25,
        "loss/view": 0.5,
        "train/clips_per_second": 812.4,
        "step": step,
        "epoch": 2,
    }


def follow(ears, channel=None):
    return Follower(channel or queue.Queue(), ears, ears, ears, "run/attempt")


def test_rows_checkpoints_and_failures_go_where_they_belong():
    ears = Remembers()
    with follow(ears) as follower:
        follower.channel.put(RowLogged(row(10)))
        follower.channel.put(CheckpointWritten(Position(3, 1, 10)))
        follower.channel.put(RowLogged(row(20)))
        follower.channel.put(TrainingFailed("loss is not finite"))
    assert ears.rows == [row(10), row(20)]
    assert ears.texts[-1] == (20, "epoch 3  loss 1.250  view 0.500  812 clips/s")
    assert ears.offers == [("run/attempt/step-00000010", 3, 10)]
    assert follower.failure == "loss is not finite"


def test_the_rows_until_a_checkpoint_are_known_before_it():
    ears = Remembers()
    known = []
    ears.offer = lambda uri, epoch, step: known.append([known["step"] for known in ears.rows])
    with follow(ears) as follower:
        for step in (10, 20):
            follower.channel.put(RowLogged(row(step)))
            follower.channel.put(CheckpointWritten(Position(3, 1, step)))
    assert known == [[10], [10, 20]]


def test_a_measurement_under_way_is_waited_for_and_then_the_file_is_completed():
    ears = Remembers(figures=(10, {"watch/knn_top1": 0.5}))
    with follow(ears):
        pass
    assert ears.added == [(10, {"watch/knn_top1": 0.5})]
    assert ears.calls[-3:] == ["poll 30", "close", "write"]


def test_where_training_failed_nothing_is_waited_for():
    ears = Remembers(figures=(10, {"watch/knn_top1": 0.5}))
    with pytest.raises(KeyError), follow(ears):
        raise KeyError
    assert ears.added == [] and "poll 30" not in ears.calls
    assert ears.calls[-2:] == ["close", "write"]


def test_a_tracking_server_that_is_away_is_one_line_and_no_failure(capsys):
    ears = Remembers(reachable=False)
    follower = follow(ears)
    for step in (10, 20):
        follower.channel.put(RowLogged(row(step)))
        follower._drain()
    shown = capsys.readouterr().out
    assert shown == "  tracking.uri=http://away: cannot be used; metrics are kept and sent later\n"
    assert ears.rows == [row(10), row(20)]


class Asked(queue.Queue):
    """A channel that remembers whether training was asked to stop."""

    asked = False

    def ask_to_stop(self):
        self.asked = True


@pytest.mark.parametrize("began", [True, False])
def test_training_that_shall_stop_is_asked_for_a_checkpoint_once_it_has_begun(monkeypatch, began):
    ended = threading.Event()
    monkeypatch.setattr(follower_module.ending, "checkpoint_written", ended.set)
    ears = Remembers(figures=(10, {"watch/knn_top1": 0.5}))
    channel = Asked()
    with pytest.raises(Terminated), follow(ears, channel) as follower:
        if began:
            channel.put(TrainingBegan())
            follower._drain()
        follower.ask_to_stop()
        if began:
            while not channel.asked:
                time.sleep(0.001)
            assert not ended.is_set()
            channel.put(RowLogged(row(10)))
            channel.put(TrainingStopped())
        assert ended.wait(5)
        raise Terminated
    assert channel.asked == began
    # Its rows are kept, and no figures are waited for.
    assert len(ears.rows) == began and "poll 30" not in ears.calls


FULL = "metrics.jsonl: cannot be written (disk full)"


def test_a_full_disk_is_one_line_and_training_is_followed_on(capsys):
    ears = Remembers(figures=(10, {"watch/knn_top1": 0.5}), writable=False)
    follower = follow(ears)
    for step in (10, 20):
        follower.channel.put(RowLogged(row(step)))
        follower.channel.put(CheckpointWritten(Position(3, 1, step)))
        follower._drain()
    follower._collect_figures(1)
    assert capsys.readouterr().out == f"  {FULL}; rows are kept and written later\n"
    assert ears.rows == [row(10), row(20)] and len(ears.offers) == 2
    assert ears.added == [(10, {"watch/knn_top1": 0.5})]
    assert [done for done, _ in ears.texts] == [10, 20]

    # Space comes and goes again: that is another line.
    for ears.writable in (True, False):
        follower.channel.put(RowLogged(row(30)))
        follower._drain()
    assert capsys.readouterr().out == f"  {FULL}; rows are kept and written later\n"


def test_rows_of_a_disk_that_was_full_are_in_the_file_at_the_end(tmp_path):
    path = tmp_path / "metrics.jsonl"
    ears = Remembers()
    history = History(str(path), Remembers())
    history.send = ears.send
    path.unlink()
    # Nothing can be written to a directory.
    path.mkdir()
    with Follower(queue.Queue(), history, ears, ears, "run/attempt") as follower:
        follower.channel.put(RowLogged(row(10)))
        follower._drain()
        path.rmdir()
        follower.channel.put(RowLogged(row(20)))
    assert read_rows(str(path)) == [row(10), row(20)]


def test_a_disk_that_is_still_full_at_the_end_is_an_error():
    with pytest.raises(UserError, match="disk full"), follow(Remembers(writable=False)):
        pass


def test_a_full_disk_does_not_hide_why_training_failed(capsys):
    ears = Remembers(writable=False)
    with follow(ears) as follower:
        follower.channel.put(TrainingFailed("loss is not finite"))
    assert follower.failure == "loss is not finite" and "write" in ears.calls
    with pytest.raises(KeyError), follow(ears):
        raise KeyError
    with (
        pytest.raises(UserError, match="training cannot be followed"),
        follow(ears, Broken()),
    ):
        pass
    assert capsys.readouterr().out == 3 * f"  {FULL}; the newest rows are not in it\n"


def test_a_channel_that_is_lost_is_an_error_in_the_drivers_thread():
    with (
        pytest.raises(UserError, match="training cannot be followed"),
        follow(Remembers(), Broken()),
    ):
        pass


def test_progress_names_the_epoch_from_one_and_every_term():
    assert progress(row(1)) == "epoch 3  loss 1.250  view 0.500  812 clips/s"
