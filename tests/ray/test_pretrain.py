"""Training on a real Ray: its options, its failures, and what the driver makes of them."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from pipeline.config.schema import load
from pipeline.core.errors import UserError
from pipeline.encoder.build import check_models
from pipeline.pretrain import checkpoint
from pipeline.pretrain.stage import History, pretrain
from pipeline.runs.perform import perform
from pipeline.runs.rundir import RunDir, settle_places
from pipeline.runs.tracking import Tracker
from pipeline.stages import ingest_stage
from tests.helpers.cli import TINY, TRACKING


def begun(output, *overrides):
    places = [f"output={output}", f"tracking.uri={TRACKING}"]
    config = settle_places(load([*TINY, *places, "stages=[ingest,pretrain]", *overrides]))
    check_models(config)
    run = RunDir.open(config)
    run.begin(config)
    return config, run, Tracker(config, run)


@pytest.fixture(scope="module")
def store(ray_session, tmp_path_factory):
    output = tmp_path_factory.mktemp("pretrain") / "ingest"
    ingest_stage(*begun(output))
    return f"data.store={output / 'store'}"


def rows(output):
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def test_every_option_of_training_at_once(store, tmp_path):
    settings = [
        *(
            "objective=umurl",
            "train.precision=bfloat16",
            "train.accumulate=2",
            "train.clip_norm=0.5",
        ),
        *(
            "train.schedule={name: step, warmup_steps: 0, milestones: [2], gamma: 0.1}",
            "train.epochs=3",
        ),
        *(
            "cluster.workers=1",
            "train.log_every=1",
            "stream.cache=none",
            "train.optimiser.name=sgd",
        ),
    ]
    results = pretrain(*begun(tmp_path, store, *settings))
    logged = rows(tmp_path)
    # 64 clips in steps of 16: 4 updates an epoch, each over two micro-batches of 8.
    assert [row["step"] for row in logged] == list(range(1, 13))
    assert [row["train/learning_rate"] for row in logged] == pytest.approx([5e-4] * 8 + [5e-5] * 4)
    assert {"loss/decomposition", "loss/consistency", "loss/regularisation"} <= logged[0].keys()
    assert results["loss"] == logged[-1]["loss"] and results["epochs"] == 3
    position, state = checkpoint.load(results["checkpoint"])
    assert (position.epoch, position.updates) == (3, 12)
    assert state["optimiser"]["param_groups"][0]["lr"] == pytest.approx(5e-5)


def test_a_loss_that_is_not_finite_ends_in_one_line_and_no_checkpoint_of_it(store, tmp_path):
    config, run, tracker = begun(
        tmp_path, store, "train.optimiser.lr=1e30", "train.schedule.warmup_steps=0"
    )
    with pytest.raises(
        UserError, match=r"loss is not finite at step \d+; lower train.optimiser.lr"
    ) as caught:
        pretrain(config, run, tracker)
    assert "\n" not in str(caught.value)
    assert checkpoint.newest(run.path("checkpoints")) is None


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
    states = [checkpoint.load(done["checkpoint"])[1]["framework"] for done in (unbroken, results)]
    assert [key for key in states[0] if not states[0][key].equal(states[1][key])] == []


class Away:
    """A tracking server that is away for a while."""

    def __init__(self):
        self.reachable, self.got = False, []

    def metrics(self, rows):
        if not self.reachable:
            raise UserError("tracking.uri=http://away: cannot be used")
        self.got = list(rows)


def test_metrics_wait_for_a_tracking_server_that_is_away(tmp_path):
    config = settle_places(load([f"output={tmp_path}"]))
    run, tracker = RunDir(config), Away()
    tracker.reachable = True
    history = History(run, tracker, [{"step": 1, "loss": 3.0}])
    tracker.reachable = False
    history.extend([{"step": 2, "loss": 2.0}, {"step": 3, "loss": 1.5}])
    with pytest.raises(UserError):
        history.send()
    # A restarted worker sends steps again from its checkpoint on.
    history.extend([{"step": 3, "loss": 1.5}, {"step": 4, "loss": 1.0}])
    tracker.reachable = True
    history.send()
    assert (
        [row["step"] for row in tracker.got]
        == [1, 2, 3, 4]
        == [row["step"] for row in rows(tmp_path)]
    )


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
        weights.append(checkpoint.load(results["checkpoint"])[1]["framework"])
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
    config, run, tracker = begun(
        tmp_path / "watched", store, *settings, "train.watch.every_epochs=1"
    )
    pretrain(config, run, tracker)
    assert [row for row in rows(tmp_path / "watched") if "watch/knn_top1" in row] == found
    logged = tracker.client.get_metric_history(tracker.run_id, "watch/knn_top1")
    assert [metric.step for metric in logged] == [row["step"] for row in found]


def test_a_collapsed_run_is_flagged_and_goes_on(store, tmp_path, capsys):
    settings = [  # weights decay and learn nothing: what is left are the positions, the same in every clip
        *(
            "train.optimiser={name: sgd, lr: 0.1, weight_decay: 1.0}",
            "train.clip_norm=1e-6",
            "train.log_every=1",
        ),
        *(
            "train.epochs=15",
            "train.schedule.warmup_steps=0",
            "cluster.workers=1",
            "train.watch.every_epochs=null",
        ),
    ]
    config, run, tracker = begun(tmp_path, store, *settings)
    perform({"pretrain": pretrain}, ["pretrain"], config, run, tracker)
    results = run.results("pretrain")
    assert results["collapsed"].startswith("step ") and results["epochs"] == 15
    shown = capsys.readouterr().out
    assert shown.count("collapsed at step") == 1 and "training goes on" in shown
    # When and why, also after the stage's results were logged.
    assert tracker.client.get_run(tracker.run_id).data.tags["collapsed"] == results["collapsed"]
