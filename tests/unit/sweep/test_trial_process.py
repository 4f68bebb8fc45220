"""The process of a trial, here without Ray: what it trains, measures, writes and reports."""

import gc
import json
import shutil
import threading
import weakref
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.numpy import load_file

from pipeline.config.compose import load
from pipeline.core.errors import UserError
from pipeline.pretrain import checkpoint
from pipeline.pretrain.alone import CheckpointFolder
from pipeline.pretrain.cadence import Position
from pipeline.pretrain.held_out import HeldOut
from pipeline.pretrain.stage import pretrain
from pipeline.runs import stores
from pipeline.runs.untracked import Untracked
from pipeline.sweep import trial_process, trial_reports
from pipeline.sweep.trial_process import run_trial
from tests.helpers.here import stream_here, train_here
from tests.helpers.stores import write_store
from tests.helpers.trials import CRITERION, EPOCHS, Stopped, order_of, run_of, run_trial_of, stop_at


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_store(str(tmp_path_factory.mktemp("store")), load(["data.persons=1"]))


@pytest.fixture(autouse=True)
def without_ray(monkeypatch):
    stream_here(monkeypatch)


def states(folder):
    """The newest checkpoint of every step below a folder: its updates -> its tensors."""
    found = {}
    for meta in sorted(Path(folder).rglob("meta.json")):
        loaded = checkpoint.load(str(meta.parent))
        found[loaded.position.updates] = loaded.state
    return found


def assert_same(one, other):
    """Weights and optimiser are the same bit for bit."""
    assert one["framework"].keys() == other["framework"].keys()
    for name, value in one["framework"].items():
        assert torch.equal(value, other["framework"][name]), name
    for number, moments in one["optimiser"]["state"].items():
        for name, value in moments.items():
            assert torch.equal(value, other["optimiser"]["state"][number][name]), name


def without_time(rows):
    return [
        {k: v for k, v in row.items() if k not in ("time", "train/clips_per_second")}
        for row in rows
    ]


def test_a_trial_trains_what_a_run_trains(store, tmp_path, monkeypatch):
    """Measured or not: the weights of every checkpoint, the rows, the exports and the results."""
    import ray

    run = run_of(store, tmp_path / "run", "train.checkpoint.keep=9")
    with monkeypatch.context() as patch:
        train_here(ray, patch)
        expected = pretrain(run, Untracked())
    order = order_of(store, tmp_path / "trial", "train.checkpoint.keep=9", criterion=CRITERION)
    reports = run_trial_of(order)

    theirs, ours = states(tmp_path / "run"), states(tmp_path / "trial")
    assert theirs.keys() == ours.keys() and len(theirs) == EPOCHS
    for updates, state in theirs.items():
        assert_same(ours[updates], state)
    rows = [row for report in reports for row in report.rows]
    logged = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert without_time(rows) == without_time(map(json.loads, logged))
    for name in ("encoder", "random"):
        theirs = (tmp_path / "run" / name / "model.safetensors").read_bytes()
        assert (tmp_path / "trial" / name / "model.safetensors").read_bytes() == theirs
    results = reports[-1].results["pretrain"]
    assert results.keys() == expected.keys()
    assert results["checkpoint"] == str(tmp_path / "trial/checkpoints/a" / f"step-{max(ours):08d}")
    for name in results.keys() - {"checkpoint", "clips_per_second"}:
        assert results[name] == expected[name]
    assert reports[-1].seconds.keys() == {"pretrain"}


def test_it_writes_nothing_that_is_the_drivers(store, tmp_path):
    order = order_of(store, tmp_path, criterion=CRITERION)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    run_trial_of(order)
    after = {path.name for path in tmp_path.iterdir()} - {path.name for path in before}
    assert after == {"checkpoints", "encoder", "random"}
    assert all(path.read_bytes() == content for path, content in before.items())


def test_the_average_of_the_weights_is_what_it_measures_and_exports(store, tmp_path, monkeypatch):
    average = "train.average={decay: 0.9, rise: true}"
    measured = []

    def measure(held_out, backbone):
        measured.append({name: value.clone() for name, value in backbone.state_dict().items()})
        return {"linear_top1": 0.5}

    monkeypatch.setattr(HeldOut, "measure", measure)
    keep = "train.checkpoint.keep=9"
    order = order_of(store, tmp_path, average, keep, criterion=CRITERION)
    run_trial_of(order)
    frameworks = [state["framework"] for state in states(tmp_path).values()]
    for found, framework in zip(measured, (frameworks[1], frameworks[3]), strict=True):
        assert all(found[name].equal(framework[f"average.{name}"]) for name in found)
        assert any(not found[name].equal(framework[f"backbone.{name}"]) for name in found)
    exported = load_file(tmp_path / "encoder" / "model.safetensors")
    assert exported.keys() == measured[-1].keys()
    assert all((exported[name] == measured[-1][name].numpy()).all() for name in exported)
    # The random start is that of a run without an average.
    run_trial_of(order_of(store, tmp_path / "plain", "train.epochs=1"))
    random = "random/model.safetensors"
    assert (tmp_path / random).read_bytes() == (tmp_path / "plain" / random).read_bytes()


def test_it_reports_at_rungs_and_at_the_end(store, tmp_path):
    first, last = run_trial_of(order_of(store, tmp_path, criterion=CRITERION))
    assert (first.epoch, last.epoch) == (2, 4)
    assert not first.results and first.ended is None and last.ended is None
    for report in (first, last):
        assert report.figures.keys() >= {"linear_top1", "knn_top1", "effective_rank"}
    assert first.figures != last.figures
    assert [row["epoch"] for row in first.rows] == sorted(row["epoch"] for row in first.rows)
    assert max(row["epoch"] for row in first.rows) == 1 and last.rows[0]["epoch"] == 2


def test_without_a_criterion_it_reports_at_every_checkpoint_and_measures_nothing(store, tmp_path):
    order = order_of(store, tmp_path, "train.checkpoint.every_steps=3")
    reports = run_trial_of(order)
    updates = order.plan.epochs.steps * EPOCHS
    due = [step for step in range(1, updates + 1) if step % 3 == 0 or step % (updates // 4) == 0]
    assert [report.rows[-1]["step"] for report in reports] == due
    assert not any(report.figures for report in reports)
    assert [bool(report.results) for report in reports] == [False] * (len(due) - 1) + [True]


def test_a_stopped_trial_goes_on_from_its_checkpoint_as_if_unbroken(store, tmp_path):
    keep = "train.checkpoint.keep=9"
    unbroken = run_trial_of(order_of(store, tmp_path / "unbroken", keep, criterion=CRITERION))
    order = order_of(store, tmp_path / "trial", keep, criterion=CRITERION)
    with pytest.raises(Stopped):
        run_trial(order, stop_at(2, []))
    # There is a checkpoint before the report, and it was measured in vain.
    resume = checkpoint.newest(str(tmp_path / "trial"))
    assert resume.position.epoch == 2
    again = order_of(
        store, tmp_path / "trial", keep, criterion=CRITERION, attempt="b", resume=resume.uri
    )
    missed, last = run_trial_of(again)
    assert missed.epoch == 2 and missed.figures == unbroken[0].figures and not missed.rows
    assert last.figures == unbroken[1].figures
    assert without_time(last.rows) == without_time(unbroken[1].rows)
    theirs, ours = states(tmp_path / "unbroken"), states(tmp_path / "trial")
    assert_same(ours[max(ours)], theirs[max(theirs)])
    assert last.results["pretrain"]["loss"] == unbroken[1].results["pretrain"]["loss"]

    # A rung that is recorded is not measured again.
    shutil.rmtree(tmp_path / "trial" / "checkpoints" / "b")
    recorded = order_of(
        store, tmp_path / "trial", keep, criterion=CRITERION, resume=resume.uri, measured=(2,)
    )
    assert [report.epoch for report in run_trial_of(recorded)] == [4]


def test_a_trial_that_trained_to_its_end_is_only_measured_and_exported(store, tmp_path):
    order = order_of(store, tmp_path, criterion=CRITERION)
    *_, last = run_trial_of(order)
    shutil.rmtree(tmp_path / "encoder")
    # The driver got the rows, but not the results.
    rows = "".join(json.dumps(row) + "\n" for row in last.rows)
    (tmp_path / "metrics.jsonl").write_text(rows)
    resume = checkpoint.newest(str(tmp_path)).uri
    (again,) = run_trial_of(order_of(store, tmp_path, criterion=CRITERION, resume=resume))
    assert again.figures == last.figures and not again.rows
    assert again.results["pretrain"] | {"clips_per_second": 0} == last.results["pretrain"] | {
        "clips_per_second": 0
    }
    assert (tmp_path / "encoder" / "config.json").exists()


def test_the_same_order_again_goes_on_from_its_own_checkpoint(store, tmp_path):
    """Ray Tune starts the process of a trial again with what the first one was told."""
    order = order_of(store, tmp_path, "train.checkpoint.keep=1")
    with pytest.raises(Stopped):
        run_trial(order, stop_at(3, []))
    assert [report.epoch for report in run_trial_of(order)] == [4]


def test_a_collapsed_trial_ends_and_says_when(store, tmp_path, monkeypatch):
    monkeypatch.setattr(
        trial_reports,
        "collapse_in",
        lambda row: f"step {row['step']}: flat" if row["step"] >= 6 else None,
    )
    order = order_of(store, tmp_path, criterion=CRITERION, stops_collapsed=True)
    (last,) = run_trial_of(order)
    assert last.ended == "collapsed at step 6: flat" and not last.results
    assert last.rows[-1]["step"] == 6 and last.epoch == last.rows[-1]["epoch"]
    assert not (tmp_path / "encoder").exists()

    # A trial of a table trains on.
    *_, end = run_trial_of(order_of(store, tmp_path / "table"))
    assert end.ended is None and end.results["pretrain"]["epochs"] == EPOCHS


def test_a_diverged_trial_ends_and_says_when(store, tmp_path):
    order = order_of(
        store,
        tmp_path,
        "train.optimiser.lr=1e6",
        "train.schedule.warmup_steps=0",
        criterion=CRITERION,
    )
    *_, last = run_trial_of(order)
    assert last.ended.startswith("diverged: loss is not finite at step ")


@pytest.mark.parametrize("figures", [ValueError("features are not finite"), {"x": float("nan")}])
def test_a_trial_whose_figures_are_not_finite_ends(store, tmp_path, monkeypatch, figures):
    def measure(backbone):
        if isinstance(figures, dict):
            return figures
        raise figures

    stand_in = SimpleNamespace(of=lambda run, criterion: SimpleNamespace(measure=measure))
    monkeypatch.setattr(trial_reports, "HeldOut", stand_in)
    (last,) = run_trial_of(order_of(store, tmp_path, criterion=CRITERION))
    assert last.ended in ("diverged: features are not finite", "diverged: x is not finite")


def test_nothing_of_a_trial_is_left(store, tmp_path, monkeypatch):
    frameworks = []
    build = trial_process.build_framework

    def remembering(config):
        framework = build(config)
        frameworks.append(weakref.ref(framework))
        return framework

    monkeypatch.setattr(trial_process, "build_framework", remembering)
    threads, running = torch.get_num_threads(), threading.active_count()
    random = torch.get_rng_state()
    order = order_of(store, tmp_path, "cluster.threads=3", criterion=CRITERION)
    gc.disable()
    try:
        run_trial_of(order)
        with pytest.raises(Stopped):
            run_trial(order_of(store, tmp_path / "2", criterion=CRITERION), stop_at(2, []))
    finally:
        gc.enable()
    assert len(frameworks) == 2 and all(framework() is None for framework in frameworks)
    assert torch.get_num_threads() == threads and threading.active_count() == running
    assert torch.equal(torch.get_rng_state(), random)


def test_the_checksums_that_the_driver_has_checked_are_not_checked_again(
    store, tmp_path, monkeypatch
):
    order = order_of(store, tmp_path, "stages=[pretrain,evaluate]", criterion=CRITERION)

    def verify(opened):
        raise AssertionError("checked again")

    monkeypatch.setattr(stores, "_VERIFIED", set())
    monkeypatch.setattr(stores, "_verify", verify)
    assert run_trial_of(order)[-1].results


def test_a_damaged_checkpoint_is_an_error(store, tmp_path):
    order = order_of(store, tmp_path, resume=str(tmp_path / "step-00000001"))
    with pytest.raises(UserError, match="incomplete or damaged"):
        run_trial_of(order)


def test_a_trial_is_evaluated_in_its_process(store, tmp_path):
    *_, last = run_trial_of(order_of(store, tmp_path, "stages=[pretrain,evaluate]"))
    assert last.results.keys() == last.seconds.keys() == {"pretrain", "evaluate"}
    figures = last.results["evaluate"]
    assert figures["protocol"] == "xview" and figures["train_clips"] + figures["test_clips"] == 120
    for encoder, prefix in (("encoder", ""), ("random", "random_")):
        saved = load_file(tmp_path / "features" / f"{encoder}.safetensors")
        for protocol in ("linear", "knn"):
            correct = saved[f"test/{protocol}"] == saved["test/labels"]
            assert figures[f"{prefix}{protocol}_top1"] == pytest.approx(correct.mean())
    curves = json.loads((tmp_path / "evaluation.json").read_text())["linear"]
    assert curves["encoder"]["test_top1"][-1] == figures["linear_top1"]


def test_what_evaluation_would_refuse_is_refused_before_training(store, tmp_path):
    protocol = "data.protocols.xview={train: {camera: [2]}, test: {camera: [7]}}"
    order = order_of(store, tmp_path, "stages=[pretrain,evaluate]", protocol)
    with pytest.raises(UserError, match="no clip"):
        run_trial_of(order)
    assert not (tmp_path / "checkpoints").exists()


def test_the_newest_checkpoints_are_kept(tmp_path):
    resume = str(tmp_path / "old" / "step-00000001")
    checkpoint.save(resume, Position(0, 1, 1), {})
    folder = CheckpointFolder(str(tmp_path / "new"), 2, resume)
    for updates in (2, 3, 4):
        folder.write(Position(0, updates, updates), {})
        assert checkpoint.load(folder.newest).position.updates == updates
    left = sorted(path.parent.name for path in tmp_path.rglob("meta.json"))
    assert left == ["step-00000003", "step-00000004"]
