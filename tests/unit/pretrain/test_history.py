"""What `metrics.jsonl` and MLflow hold, whatever was killed or away in between."""

import json

import pytest

from pipeline.core.errors import UserError
from pipeline.pretrain.cadence import Position
from pipeline.pretrain.checkpoint import Checkpoint
from pipeline.pretrain.history import History

DEVIATION, RANK = "collapse/deviation", "collapse/effective_rank"


class Server:
    """A tracking server, which may be away for a while."""

    def __init__(self):
        self.reachable, self.got, self.late, self.tags = True, [], [], {}

    def metrics(self, rows):
        self._reach()
        self.got += rows

    def late_metrics(self, rows):
        self._reach()
        self.late += rows

    def results(self, results):
        self._reach()
        self.tags |= results

    def _reach(self):
        if not self.reachable:
            raise UserError("tracking.uri=http://away: cannot be used")


def row(step, **values):
    return {"step": step, "loss": 1 / step, "time": 1000.0 + step} | values


def rows(*steps):
    return [row(step) for step in steps]


def written(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def history(path, tracker=None, *, history=None, updates=0):
    resume = None
    if history is not None:
        resume = Checkpoint("step", Position(0, updates, updates), {"history": history})
    return History(str(path / "metrics.jsonl"), tracker or Server(), resume)


def put(path, found):
    (path / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in found))


def test_metrics_wait_for_a_tracking_server_that_is_away(tmp_path):
    tracker = Server()
    logged = history(tmp_path, tracker, history=[{"step": 1, "loss": 3.0}], updates=1)
    tracker.reachable = False
    logged.extend([{"step": 2, "loss": 2.0}, {"step": 3, "loss": 1.5}])
    with pytest.raises(UserError):
        logged.send()
    # A restarted worker sends steps again from its checkpoint on.
    logged.extend([{"step": 3, "loss": 1.5}, {"step": 4, "loss": 1.0}])
    tracker.reachable = True
    logged.send()
    assert (
        [row["step"] for row in tracker.got]
        == [1, 2, 3, 4]
        == [row["step"] for row in written(tmp_path)]
    )


def test_a_new_training_begins_with_an_empty_file(tmp_path):
    put(tmp_path, rows(1, 2, 3))
    history(tmp_path)
    assert written(tmp_path) == []


def test_rows_after_the_checkpoint_come_again_and_those_before_its_tail_stay(tmp_path):
    put(tmp_path, rows(1, 2, 3, 4, 5, 6, 7))
    logged = history(tmp_path, history=rows(4, 5, 6), updates=6)
    assert logged.rows == rows(1, 2, 3, 4, 5, 6) == written(tmp_path)
    logged.extend(rows(7, 8))
    assert written(tmp_path) == rows(1, 2, 3, 4, 5, 6, 7, 8)


def test_rows_that_a_killed_driver_had_not_written_come_from_the_checkpoint(tmp_path):
    put(tmp_path, rows(1, 2, 3))
    (tmp_path / "metrics.jsonl").open("a").write('{"step": 4, "lo')
    tracker = Server()
    logged = history(tmp_path, tracker, history=rows(3, 4, 5), updates=5)
    assert logged.rows == rows(1, 2, 3, 4, 5) == written(tmp_path) == tracker.got


@pytest.mark.parametrize(
    ("there", "lacking"),
    [
        # Rows at every second step, and one of a checkpoint at step 47.
        ([2, 4, 6, 8, 10], "11 to 41"),
        ([], "1 to 41"),
        ([2, 38], "39 to 41"),
        ([2, 40], None),
        ([2, 40, 42, 44], None),
    ],
)
def test_rows_that_neither_file_nor_checkpoint_has_are_named(
    tmp_path, monkeypatch, capsys, there, lacking
):
    recent = [42, 44, 46, 47]
    monkeypatch.setattr("pipeline.pretrain.history.RECENT_ROWS", len(recent))
    put(tmp_path, rows(*there))
    logged = history(tmp_path, history=rows(*recent), updates=47)
    earlier = [step for step in there if step < 42]
    assert logged.rows == rows(*earlier, *recent) == written(tmp_path)
    shown = capsys.readouterr().out
    if lacking is None:
        assert shown == ""
    else:
        assert shown == f"  metrics.jsonl lacks the rows of steps {lacking}\n"


def test_a_checkpoint_with_few_rows_has_all_of_them(tmp_path, capsys):
    # Rows at every tenth step, and one of a checkpoint at step 11.
    history(tmp_path, history=rows(10, 11), updates=11)
    assert capsys.readouterr().out == ""


def test_rows_that_could_not_be_written_are_written_with_the_next(tmp_path):
    logged = history(tmp_path)
    logged.extend(rows(1, 2))
    path = tmp_path / "metrics.jsonl"
    path.unlink()
    # Nothing can be written to a directory.
    path.mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        logged.extend(rows(3))
    with pytest.raises(UserError, match="cannot be written"):
        logged.add(2, {"watch/knn_top1": 0.5})
    with pytest.raises(UserError, match="cannot be written"):
        logged.write()
    path.rmdir()
    logged.extend(rows(4))
    watched = row(2, **{"watch/knn_top1": 0.5})
    assert written(tmp_path) == [row(1), watched, *rows(3, 4)] == logged.rows


@pytest.mark.parametrize("there", [[], [1, 2], [1, 2, 3, 4, 5, 6]])
def test_a_checkpoint_of_the_version_before_fills_the_file_with_its_whole_history(tmp_path, there):
    put(tmp_path, rows(*there))
    resume = Checkpoint(
        "step",
        Position(0, 5, 5),
        {"history": rows(1, 2, 3, 4, 5), "config": {"name": "old"}, "threads": 1},
    )
    logged = History(str(tmp_path / "metrics.jsonl"), Server(), resume)
    assert logged.rows == rows(1, 2, 3, 4, 5) == written(tmp_path)


def test_figures_of_a_checkpoint_are_shown_in_the_row_of_their_step(tmp_path):
    tracker = Server()
    logged = history(tmp_path, tracker)
    logged.extend(rows(2, 4, 6, 8))
    logged.send()
    logged.add(4, {"watch/knn_top1": 0.5})
    logged.add(5, {"watch/knn_top1": 0.9})  # its row went with a worker that failed
    logged.extend(rows(10))
    logged.send()
    watched = row(4, **{"watch/knn_top1": 0.5})
    assert written(tmp_path) == [row(2), watched, *rows(6, 8, 10)] == logged.rows
    assert tracker.got == rows(2, 4, 6, 8, 10)
    assert [(late["step"], late["watch/knn_top1"]) for late in tracker.late] == [(4, 0.5)]
    assert tracker.late[0]["time"] > 1e9


def test_a_continued_training_keeps_figures_of_checkpoints(tmp_path):
    first = history(tmp_path)
    first.extend(rows(1, 2, 3, 4, 5, 6))
    for step in (1, 4, 6):
        first.add(step, {"watch/knn_top1": step / 10})
    logged = history(tmp_path, history=rows(3, 4, 5), updates=5)
    figures = {each["step"]: each.get("watch/knn_top1") for each in written(tmp_path)}
    assert figures == {1: 0.1, 2: None, 3: None, 4: 0.4, 5: None}
    assert logged.rows == written(tmp_path)


def test_steps_that_come_again_after_a_worker_failed_replace_those_that_were_there(tmp_path):
    logged = history(tmp_path)
    logged.extend(rows(1, 2, 3, 4))
    logged.add(3, {"watch/knn_top1": 0.5})
    again = [row(3, loss=9.0), row(5)]
    logged.extend(again)
    assert logged.rows == [*rows(1, 2), *again] == written(tmp_path)


def test_the_first_collapse_is_told_once_and_tagged_once(tmp_path, capsys):
    tracker = Server()
    logged = history(tmp_path, tracker)
    logged.extend([row(1, **{DEVIATION: 0.3, RANK: 5.0})])
    logged.send()
    assert logged.collapse is None and tracker.tags == {}
    logged.extend([row(2, **{DEVIATION: 0.01, RANK: 5.0}), row(3, **{DEVIATION: 0.3, RANK: 1.0})])
    tracker.reachable = False
    with pytest.raises(UserError):
        logged.send()
    tracker.reachable = True
    logged.send()
    assert logged.collapse.startswith("step 2: all clips have nearly the same feature")
    assert tracker.tags == {"collapsed": logged.collapse}
    shown = capsys.readouterr().out
    assert shown.count("collapsed at step") == 1 and "training goes on" in shown
