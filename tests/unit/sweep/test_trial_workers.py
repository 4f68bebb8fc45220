"""A trial of several workers, whose training runs in a thread of this process instead."""

import threading

import pytest
import ray
import ray.train.torch

from pipeline.config.compose import load
from pipeline.core.errors import UserError
from pipeline.pretrain import checkpoint, fit
from pipeline.sweep import trial_reports, trial_workers
from pipeline.sweep.trial_process import run_trial
from pipeline.sweep.trial_workers import LEAST_KEPT
from tests.helpers.here import Channel, stream_here, train_here
from tests.helpers.stores import write_store
from tests.helpers.trials import CRITERION, Stopped, order_of, run_trial_of, stop_at

WORKERS = "cluster.workers=2"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_store(str(tmp_path_factory.mktemp("store")), load(["data.persons=1"]))


@pytest.fixture(autouse=True)
def without_ray(monkeypatch):
    stream_here(monkeypatch)
    train_here(ray, monkeypatch, trial_workers, workers=2)


@pytest.fixture
def channels(monkeypatch):
    """The channels that trials open."""
    opened = []

    def open_channel():
        opened.append(Channel())
        return opened[-1]

    monkeypatch.setattr(trial_workers, "open_channel", open_channel)
    return opened


def test_it_reports_what_a_trial_of_one_worker_reports(store, tmp_path, channels):
    """Here there is one worker, and therefore the weights are the same."""
    threads = threading.active_count()
    alone = run_trial_of(order_of(store, tmp_path / "alone", criterion=CRITERION))
    reports = run_trial_of(order_of(store, tmp_path / "trial", WORKERS, criterion=CRITERION))
    assert [report.epoch for report in reports] == [report.epoch for report in alone]
    for report, expected in zip(reports, alone, strict=True):
        assert report.figures == expected.figures
        assert [row["loss"] for row in report.rows] == [row["loss"] for row in expected.rows]
    assert reports[-1].results["pretrain"]["loss"] == alone[-1].results["pretrain"]["loss"]
    for encoder in ("encoder", "random"):
        theirs, ours = (
            (tmp_path / name / encoder / "model.safetensors").read_bytes()
            for name in ("alone", "trial")
        )
        assert theirs == ours
    assert channels[0].closed and threading.active_count() == threads
    # The driver writes it.
    assert not (tmp_path / "trial" / "metrics.jsonl").exists()


def test_without_a_criterion_it_reports_at_every_checkpoint(store, tmp_path):
    order = order_of(store, tmp_path, WORKERS, "train.checkpoint.every_steps=3")
    reports = run_trial_of(order)
    updates = order.plan.epochs.steps * 4
    due = [step for step in range(1, updates + 1) if step % 3 == 0 or step % (updates // 4) == 0]
    assert [report.rows[-1]["step"] for report in reports] == due


def test_workers_are_asked_to_stop_before_the_trial_ends(store, tmp_path, channels):
    threads = threading.active_count()
    order = order_of(store, tmp_path, WORKERS, criterion=CRITERION)
    with pytest.raises(Stopped):
        run_trial(order, stop_at(2, []))
    assert channels[0].asked and threading.active_count() == threads
    # It goes on from there.
    assert checkpoint.newest(str(tmp_path)).position.epoch >= 2
    reports = run_trial_of(order_of(store, tmp_path, WORKERS, criterion=CRITERION))
    assert reports[-1].epoch == 4 and reports[-1].results


def test_a_collapsed_trial_ends_and_says_when(store, tmp_path, monkeypatch, channels):
    monkeypatch.setattr(
        trial_reports,
        "collapse_in",
        lambda row: f"step {row['step']}: flat" if row["step"] >= 6 else None,
    )
    order = order_of(store, tmp_path, WORKERS, criterion=CRITERION, stops_collapsed=True)
    *_, last = run_trial_of(order)
    assert last.ended == "collapsed at step 6: flat" and channels[0].asked


def test_a_diverged_trial_ends_and_says_when(store, tmp_path):
    overrides = ("train.optimiser.lr=1e6", "train.schedule.warmup_steps=0")
    order = order_of(store, tmp_path, WORKERS, *overrides, criterion=CRITERION)
    *_, last = run_trial_of(order)
    assert last.ended.startswith("diverged: loss is not finite at step ")


def test_a_training_that_fails_is_an_error_of_the_trial(store, tmp_path, monkeypatch):
    def fails(trainer, job):
        raise UserError("training failed: no such clip")

    monkeypatch.setattr(fit, "_run", fails)
    with pytest.raises(UserError, match="no such clip"):
        run_trial_of(order_of(store, tmp_path, WORKERS, criterion=CRITERION))


def test_enough_checkpoints_are_kept_to_measure_one_meanwhile():
    for keep in (1, 5):
        config = load([f"train.checkpoint.keep={keep}"])
        kept = trial_workers._with_kept_checkpoints(config).train.checkpoint.keep
        assert kept == max(keep, LEAST_KEPT)
