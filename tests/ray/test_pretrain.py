"""Training on a real Ray: its options, its failures, and what the driver makes of them.

What needs no Ray is in tests/unit/pretrain: the loop, the history, what is due when. Where Ray
Train is not the point, its worker runs in this process (the fixture `here`).
"""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from pipeline.config.compose import Request, load
from pipeline.config.places import settle_places
from pipeline.core.errors import UserError
from pipeline.ingest.stage import ingest
from pipeline.pretrain import checkpoint
from pipeline.pretrain.stage import pretrain
from pipeline.runs.directory import RunDirectory
from pipeline.runs.perform import perform
from pipeline.runs.resolved import resolve
from pipeline.runs.tracking import Tracker
from tests.helpers.cli import TINY, TRACKING
from tests.helpers.here import train_here


def begun(output, *overrides):
    """A run in `output` and its tracked twin, as the entry point gives them to a stage."""
    places = [f"output={output}", f"tracking.uri={TRACKING}"]
    overrides = (*TINY, *places, "stages=[ingest,pretrain]", *overrides)
    config = settle_places(load(overrides), in_job=False)
    run = resolve(config, Request(overrides), RunDirectory.open(config))
    run.directory.begin(config)
    return run, Tracker(config, run.directory)


@pytest.fixture(scope="module")
def store(ray_session, tmp_path_factory):
    output = tmp_path_factory.mktemp("pretrain") / "ingest"
    ingest(*begun(output))
    return f"data.store={output / 'store'}"


def rows(output):
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def without_figures(row):
    """A row as the worker logged it, before figures of its checkpoint came."""
    return {key: value for key, value in row.items() if not key.startswith("watch/")}


@pytest.fixture
def here(ray_session, monkeypatch):
    """Training by one worker in this process.

    Starting those of Ray Train takes more than twenty seconds of the CPUs.
    """
    train_here(ray_session, monkeypatch)


def test_every_option_of_training_at_once(store, tmp_path):
    settings = [
        "objective=umurl",
        "train.precision=bfloat16",
        "train.accumulate=2",
        "train.clip_norm=0.5",
        "train.schedule={name: step, warmup_steps: 0, milestones: [2], gamma: 0.1}",
        "train.epochs=3",
        "cluster.workers=2",
        "train.log_every=1",
        "stream.cache=none",
        "train.optimiser.name=sgd",
    ]
    results = pretrain(*begun(tmp_path, store, *settings))
    logged = rows(tmp_path)
    # 64 clips in steps of 16: 4 updates an epoch, each over two micro-batches of 8.
    assert [row["step"] for row in logged] == list(range(1, 13))
    assert [row["train/learning_rate"] for row in logged] == pytest.approx([5e-4] * 8 + [5e-5] * 4)
    assert {"loss/decomposition", "loss/consistency", "loss/regularisation"} <= logged[0].keys()
    assert results["loss"] == logged[-1]["loss"] and results["epochs"] == 3
    last = checkpoint.load(results["checkpoint"])
    assert (last.position.epoch, last.position.updates) == (3, 12)
    assert last.state["optimiser"]["param_groups"][0]["lr"] == pytest.approx(5e-5)
    # The newest rows ride in it; nothing else that nobody reads.
    assert last.state.keys() == {"framework", "optimiser", "history"}
    assert last.state["history"] == [without_figures(row) for row in logged]


def test_a_loss_that_is_not_finite_ends_in_one_line_and_no_checkpoint_of_it(store, here, tmp_path):
    settings = [
        "train.optimiser.lr=1e6",
        "train.schedule.warmup_steps=0",
        "cluster.workers=1",
    ]
    run, tracker = begun(tmp_path, store, *settings)
    with pytest.raises(
        UserError, match=r"loss is not finite at step \d+; lower train.optimiser.lr"
    ) as caught:
        pretrain(run, tracker)
    assert "\n" not in str(caught.value)
    assert checkpoint.newest(run.directory.path("checkpoints")) is None


def worker_pids():
    """Of this process's training workers: Ray's processes below the same session."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            name = (entry / "cmdline").read_bytes()
            mine = f"PYTEST_CURRENT_RUN={os.getpid()}".encode() in (entry / "environ").read_bytes()
        except OSError:
            continue
        if name.startswith(b"ray::RayTrainWorker") and mine:
            found.append(int(entry.name))
    return found


@pytest.mark.slow
def test_training_survives_a_killed_worker(store, tmp_path):
    settings = [
        "train.epochs=6",
        "train.checkpoint.every_steps=3",
        "cluster.workers=2",
        "train.log_every=1",
    ]
    unbroken = pretrain(*begun(tmp_path / "unbroken", store, *settings))
    killed = []

    def kill():
        while not killed:
            if list((tmp_path / "broken").glob("checkpoints/*/*/meta.json")) and (
                pids := worker_pids()
            ):
                os.kill(pids[0], signal.SIGKILL)
                killed.append(pids[0])
            time.sleep(0.01)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    results = pretrain(*begun(tmp_path / "broken", store, *settings))
    assert killed, "training ended before its worker was killed"
    assert results["loss"] == unbroken["loss"]
    assert [row["step"] for row in rows(tmp_path / "broken")] == list(range(1, 25))
    states = [
        checkpoint.load(done["checkpoint"]).state["framework"] for done in (unbroken, results)
    ]
    assert [key for key in states[0] if not states[0][key].equal(states[1][key])] == []


@pytest.mark.slow
def test_watching_adds_figures_and_leaves_the_weights_as_they_are(store, tmp_path, capsys):
    weights = []
    for name, every in (("watched", 1), ("alone", "null")):
        settings = ["train.epochs=3", "train.checkpoint.every_epochs=1", "stream.pairs=cameras"]
        results = pretrain(
            *begun(tmp_path / name, store, *settings, f"train.watch.every_epochs={every}")
        )
        assert "collapsed" not in results
        assert "64 of them with another camera's clip" in capsys.readouterr().out
        weights.append(checkpoint.load(results["checkpoint"]).state["framework"])
    assert [key for key in weights[0] if not weights[0][key].equal(weights[1][key])] == []
    watched, alone = rows(tmp_path / "watched"), rows(tmp_path / "alone")
    found = [row for row in watched if "watch/knn_top1" in row]
    assert found and all(0 <= row["watch/linear_top1"] <= 1 for row in found)
    assert {row["step"] for row in found} <= {4, 8, 12}
    assert not any(key.startswith("watch/") for row in alone for key in row)
    assert [row["loss"] for row in watched] == [row["loss"] for row in alone]
    for row in watched:
        assert {
            "collapse/deviation",
            "collapse/effective_rank",
            "collapse/uniformity",
            "collapse/alignment",
        } <= row.keys()
        assert {"decomposition/joint", "train/gradient_norm"} <= row.keys()
    # A continued run keeps what was measured before.
    run, tracker = begun(tmp_path / "watched", store, *settings, "train.watch.every_epochs=1")
    pretrain(run, tracker)
    assert [row for row in rows(tmp_path / "watched") if "watch/knn_top1" in row] == found
    logged = tracker.client.get_metric_history(tracker.run_id, "watch/knn_top1")
    assert [metric.step for metric in logged] == [row["step"] for row in found]


def test_a_collapsed_run_is_flagged_and_goes_on(store, here, tmp_path, capsys):
    # Weights decay and learn nothing: what is left are the positions, the same in every clip.
    settings = [
        "train.optimiser={name: sgd, lr: 0.1, weight_decay: 1.0}",
        "train.clip_norm=1e-6",
        "train.log_every=1",
        "train.epochs=15",
        "train.schedule.warmup_steps=0",
        "cluster.workers=1",
        "train.watch.every_epochs=null",
    ]
    run, tracker = begun(tmp_path, store, *settings)
    perform({"pretrain": pretrain}, ["pretrain"], run, tracker)
    results = run.directory.results("pretrain")
    assert results["collapsed"].startswith("step ") and results["epochs"] == 15
    shown = capsys.readouterr().out
    assert shown.count("collapsed at step") == 1 and "training goes on" in shown
    # When and why, also after the stage's results were logged.
    assert tracker.client.get_run(tracker.run_id).data.tags["collapsed"] == results["collapsed"]
