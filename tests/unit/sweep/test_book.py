"""What the driver keeps of trials, wherever it is killed. Their processes are played."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.runs.directory import RunDirectory
from pipeline.sweep import book as book_module
from pipeline.sweep.book import Book
from pipeline.sweep.messages import Order, Report
from pipeline.sweep.points import final_value
from pipeline.sweep.search import Search
from pipeline.sweep.trial import read_record, trial_records
from tests.helpers.searches import METRIC, TWO_KEYS, search_run
from tests.helpers.tables import NoMLflow, PlayedTrials

ROW = {"step": 10, "epoch": 4, "time": 1e9, "loss": 1.0}


class Killed(BaseException):
    """The driver is killed."""


@pytest.fixture(autouse=True)
def _a_commit(monkeypatch):
    monkeypatch.setattr(book_module, "code_version", lambda: "0123456789ab")


@pytest.fixture
def sweep(tmp_path):
    return search_run(tmp_path, *TWO_KEYS, "sweep.trials=4")


def opened(sweep):
    """A driver that has begun the first trial, or goes on with it."""
    book = Book(sweep, sweep.config.sweep, NoMLflow())
    book.streams = PlayedTrials()
    search = Search(sweep, [], trial_records(sweep.config.output))
    trial = search.next_trial()
    return book, trial, book.open(trial)


def rung(epoch, value):
    return Report(epoch=epoch, rows=[ROW | {"step": epoch}], figures={METRIC: value})


def end(trial, value):
    epochs = trial.config.train.epochs
    return Report(
        epoch=epochs,
        rows=[ROW | {"step": epochs}],
        figures={METRIC: value},
        results={"pretrain": {"loss": 1.0}},
        seconds={"pretrain": 1.0},
    )


def kill_at_end(sweep, monkeypatch, function):
    """A trial that was reported to its end, and a driver that is killed at a function."""
    book, trial, _ = opened(sweep)
    book.report(trial.name, rung(4, 0.2))

    def killed(*_):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(*function, killed)
        book.report(trial.name, end(trial, 0.9))
    book.abandon()


@pytest.mark.parametrize(
    "function", [(book_module, "write_summary"), (RunDirectory, "conclude")], ids=["early", "late"]
)
def test_a_trial_that_ended_when_the_driver_was_killed_has_its_last_rung(
    sweep, monkeypatch, function
):
    kill_at_end(sweep, monkeypatch, function)
    _, trial, record = opened(sweep)
    assert record.state == "finished" and record.name == trial.name
    # Not what was measured after epoch 4.
    assert final_value(record, METRIC) == 0.9
    assert read_record(trial.config.output) == record


def test_a_trial_that_somebody_ran_alone_is_still_measured(sweep):
    book, trial, _ = opened(sweep)
    book.report(trial.name, rung(4, 0.2))
    book.abandon()
    directory = RunDirectory.open(trial.config)
    directory.finish("pretrain", {"loss": 1.0})
    book, trial, order = opened(sweep)
    # It goes on from its last checkpoint, where nothing is left but to measure it.
    assert isinstance(order, Order) and order.measured == (4,)
    book.report(trial.name, end(trial, 0.9))
    assert final_value(book.close(trial.name, "stopped", ""), METRIC) == 0.9


def test_a_process_that_dies_after_its_last_report_may_tell_the_end_again(sweep):
    book, trial, _ = opened(sweep)
    book.report(trial.name, end(trial, 0.9))
    assert isinstance(book.reopen(trial.name), Order)
    book.report(trial.name, end(trial, 0.9))
    record = book.close(trial.name, "stopped", "")
    assert (record.state, record.reason) == ("finished", None)
    assert [rung.epoch for rung in record.rungs] == [trial.config.train.epochs]


def test_mlflow_learns_how_long_a_trial_was_at_work(sweep, monkeypatch):
    """Its run also lasts while no driver is there."""
    book, trial, _ = opened(sweep)
    book.running(trial.name).reported -= 20
    book.report(trial.name, rung(4, 0.2))
    book.abandon()
    book, trial, _ = opened(sweep)
    book.running(trial.name).reported -= 10
    told = {}
    book.children = SimpleNamespace(
        results=lambda name, results: told.update(results),
        **dict.fromkeys(("rows", "late_rows", "tags", "end"), lambda *_: None),
    )
    book.report(trial.name, end(trial, 0.9))
    record = book.close(trial.name, "stopped", "")
    assert told["seconds"] == round(record.seconds, 1) and 30 <= record.seconds < 40


def test_a_damaged_record_is_named(sweep):
    book, trial, _ = opened(sweep)
    book.abandon()
    Path(trial.config.output, "trial.json").write_text("{")
    with pytest.raises(
        UserError, match=r"point000-0/trial\.json: not the record of a trial"
    ) as bad:
        trial_records(sweep.config.output)
    assert "\n" not in str(bad.value) and str(bad.value).endswith("and the trial is run again")


def test_neither_a_copy_of_a_trial_nor_one_moved_aside_is_a_trial(sweep):
    book, trial, _ = opened(sweep)
    book.report(trial.name, end(trial, 0.9))
    book.close(trial.name, "stopped", "")
    for name in ("copy", f"{trial.name}.20261127-120000-abcdef"):
        place = Path(sweep.config.output, name)
        shutil.copytree(trial.config.output, place)
        values = json.loads((place / "trial.json").read_text())
        (place / "trial.json").write_text(json.dumps(values | {"state": "open"}))
    [record] = trial_records(sweep.config.output)
    assert record.state == "finished"
    assert Search(sweep, [], [record]).next_trial().name == "point001-0"


def test_a_directory_that_is_lost_does_not_keep_the_others(sweep):
    book = Book(sweep, sweep.config.sweep, NoMLflow())
    book.streams = PlayedTrials()
    search = Search(sweep, [], [])
    first, second = search.next_trial(), search.next_trial()
    for trial in (first, second):
        book.open(trial)
    owner = book.running(first.name).owner
    storage.delete([storage.join(first.config.output, "owner.json")])
    with pytest.raises(UserError, match="deleted while this run was at work"):
        owner.verify()
    book.abandon()
    assert not Path(second.config.output, "owner.json").exists()


def test_a_record_that_cannot_be_written_ends_the_report_and_loses_nothing(sweep, monkeypatch):
    book, trial, _ = opened(sweep)
    book.report(trial.name, rung(4, 0.2))
    before = read_record(trial.config.output)

    def full(*_):
        raise UserError("trial.json: No space left on device")

    with monkeypatch.context() as patch, pytest.raises(UserError, match="No space"):
        patch.setattr(storage, "write_json", full)
        book.report(trial.name, end(trial, 0.9))
    book.abandon()
    assert read_record(trial.config.output) == before
    book, trial, order = opened(sweep)
    assert isinstance(order, Order) and order.measured == (4,)
    book.abandon()
