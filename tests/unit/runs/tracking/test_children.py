"""The MLflow runs of the trials of a sweep: sent in batches, and kept while MLflow is away."""

import threading
import time

import pytest
from mlflow.exceptions import MlflowException

from pipeline.config.compose import Request, load
from pipeline.config.places import settle_places
from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.runs.directory import RunDirectory
from pipeline.runs.tracking import children as module
from pipeline.runs.tracking.children import Children, EndedTrial
from tests.helpers.tracked import Place


@pytest.fixture(scope="module")
def config():
    return settle_places(load(("tracking.uri=null",)), in_job=False)


@pytest.fixture
def place(tmp_path, empty_database, config, monkeypatch) -> Place:
    monkeypatch.setattr(module, "BATCH_SECONDS", 0.02)
    monkeypatch.setattr(module, "OUTAGE_SECONDS", 0.05)
    return Place(tmp_path, empty_database, config)


@pytest.fixture
def parent(place):
    return place.start(place.settings("sweep", name="sweep"))


def trial(place: Place, name: str) -> tuple:
    """The configuration and the directory of a trial, begun."""
    config = place.settings(f"sweep/{name}", name=name)
    directory = RunDirectory.open(config)
    directory.begin(config)
    return config, directory


def rows(*steps: int) -> list[dict]:
    return [{"step": step, "time": 1e9 + step, "loss": 1.0 / step} for step in steps]


def found(parent, name: str):
    """The MLflow run of a trial."""
    experiment = parent.client.get_run(parent.run_id).info.experiment_id
    (run,) = parent.client.search_runs([experiment], f"attributes.run_name = '{name}'")
    return run


def logged(parent, name: str, metric: str = "loss") -> list[int]:
    history = parent.client.get_metric_history(found(parent, name).info.run_id, metric)
    return sorted(entry.step for entry in history)


def wait_for(condition) -> None:
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come about")


def test_a_trial_becomes_a_child_with_its_metrics_and_results(place, parent):
    config, directory = trial(place, "point000-0")
    request = Request(("seed=0", "name='a b'"), "/own")
    with Children(parent) as children:
        tags = {"sweep.state": "open", "sweep.param.train.optimiser.lr": "0.1"}
        children.begin(config, directory, tags, request=request, updates=1000)
        children.rows("point000-0", rows(*range(1, 16)))
        children.late_rows("point000-0", [{"step": 15, "time": 2e9, "held_out/knn_top1": 0.5}])
        children.rows("point000-0", rows(*range(16, 39)))
        children.results("point000-0", {"loss": 0.5, "knn_top1": 0.25, "collapsed": "no"})
        storage.write_bytes(directory.path("summary.json"), b"{}")
        children.tags("point000-0", {"sweep.state": "finished"})
        children.end("point000-0", "FINISHED")
    run = found(parent, "point000-0")
    assert run.info.status == "FINISHED"
    assert run.info.run_id == directory.state.mlflow_run_id
    assert RunDirectory.open(config).state.mlflow_run_id == run.info.run_id
    assert [step for step in logged(parent, "point000-0") if step] == [1, 10, 15, 20, 30, 38]
    assert logged(parent, "point000-0", "held_out/knn_top1") == [15]
    assert run.data.metrics["knn/top1"] == 0.25
    tags = run.data.tags
    assert tags["mlflow.parentRunId"] == parent.run_id
    assert tags["sweep.state"] == "finished" and tags["collapsed"] == "no"
    assert tags["sweep.param.train.optimiser.lr"] == "0.1"
    assert tags["metrics.every_steps"] == "10" and "run.incomplete" not in tags
    assert tags["run.command"] == '["seed=0", "name=\'a b\'"]' and tags["run.config_dir"] == "/own"
    assert run.data.params["train.epochs"] == str(config.train.epochs)
    paths = [file.path for file in parent.client.list_artifacts(run.info.run_id)]
    assert paths == ["config.yaml", "summary.json"]


def test_a_trial_that_goes_on_has_each_step_once(place, parent):
    config, directory = trial(place, "a-0")
    with Children(parent) as children:
        children.begin(config, directory, {"sweep.state": "open"})
        children.rows("a-0", rows(1, 2, 3))
        # Its process died, and it goes on in this sweep.
        wait_for(lambda: directory.state.mlflow_run_id is not None)
        again = RunDirectory.open(config)
        again.begin(config)
        children.begin(config, again, {"sweep.state": "open"})
        children.rows("a-0", rows(1, 2, 3, 4))
        children.end("a-0", "KILLED")
    first = found(parent, "a-0").info.run_id
    assert again.state.mlflow_run_id == first

    # The driver died, and another one goes on. The figures of a rung had not been sent.
    storage.write_bytes(again.path("checkpoints/x/meta.json"), b"{}")
    lines = '{"step": 3, "time": 1, "loss": 1, "held_out/knn_top1": 0.5}\n{"step": 5, "time": 2}\n'
    storage.write_bytes(again.path("metrics.jsonl"), lines.encode())
    restarted = RunDirectory.open(config)
    with Children(parent) as children:
        children.begin(config, restarted, {"sweep.state": "open"})
        children.rows("a-0", rows(4, 5))
        children.end("a-0", "FINISHED")
    assert found(parent, "a-0").info.run_id == first
    assert logged(parent, "a-0") == [1, 2, 3, 4, 5]
    assert logged(parent, "a-0", "held_out/knn_top1") == [3]


def test_what_mlflow_does_not_take_is_kept_and_sent_later(place, parent, monkeypatch, capsys):
    config, directory = trial(place, "a-0")
    other, other_directory = trial(place, "b-0")
    is_away = threading.Event()
    usual = type(parent.client).log_batch

    def log_batch(*args, **kwargs):
        if is_away.is_set():
            raise MlflowException("connection refused")
        return usual(*args, **kwargs)

    monkeypatch.setattr(type(parent.client), "log_batch", log_batch)
    with Children(parent) as children:
        is_away.set()
        children.begin(config, directory, {})
        children.begin(other, other_directory, {})
        children.rows("a-0", rows(1, 2))
        wait_for(lambda: "connection refused" in capsys.readouterr().out)
        children.rows("a-0", rows(3))
        children.rows("b-0", rows(1))
        # Several tries, and no further word.
        time.sleep(0.3)
        assert capsys.readouterr().out == ""
        is_away.clear()
        wait_for(lambda: "answers again" in capsys.readouterr().out)
        children.end("a-0", "FINISHED")
        children.end("b-0", "FINISHED")
    assert logged(parent, "a-0") == [1, 2, 3] and logged(parent, "b-0") == [1]
    assert found(parent, "a-0").data.params and found(parent, "b-0").info.status == "FINISHED"

    children = Children(parent)
    with pytest.raises(UserError, match=r"connection refused.*: a-0"), children:
        is_away.set()
        children.begin(config, RunDirectory.open(config), {})
        children.rows("a-0", rows(4))
    # A sweep that failed already shows its own error.
    with pytest.raises(ZeroDivisionError), Children(parent) as children:
        children.begin(config, RunDirectory.open(config), {})
        children.rows("a-0", rows(4))
        raise ZeroDivisionError


def test_a_child_that_is_deleted_meanwhile_is_made_anew(place, parent, capsys):
    config, directory = trial(place, "a-0")
    with Children(parent) as children:
        children.begin(config, directory, {"sweep.state": "open", "sweep.group": "a"})
        wait_for(lambda: children._unsent() == [])
        first = directory.state.mlflow_run_id
        parent.client.delete_run(first)
        children.rows("a-0", rows(1, 2))
        wait_for(lambda: directory.state.mlflow_run_id != first)
        children.tags("a-0", {"sweep.state": "finished"})
        wait_for(lambda: children._unsent() == [])
        parent.client.delete_run(directory.state.mlflow_run_id)
        # It is noticed at the end only.
        children.end("a-0", "FINISHED")
    said = capsys.readouterr().out
    assert said.count("it was deleted; made anew") == 2 and said.count("\n") == 2
    run = found(parent, "a-0")
    assert run.info.status == "FINISHED"
    assert run.data.tags["sweep.state"] == "finished" and run.data.tags["sweep.group"] == "a"


def test_at_most_one_batch_a_second(place, parent, monkeypatch):
    monkeypatch.setattr(module, "BATCH_SECONDS", 0.5)
    config, directory = trial(place, "a-0")
    batches = []
    usual = type(parent).late_metrics

    def late_metrics(tracker, some):
        if some and "loss" in some[0]:
            batches.append(len(some))
        usual(tracker, some)

    monkeypatch.setattr(type(parent), "late_metrics", late_metrics)
    with Children(parent) as children:
        children.begin(config, directory, {})
        wait_for(lambda: children._unsent() == [])
        began = time.monotonic()
        for step in range(1, 41):
            children.rows("a-0", rows(step))
            time.sleep(0.01)
        # Nothing waits for MLflow.
        assert time.monotonic() - began < 2
    assert sum(batches) == 40 and len(batches) <= 4


def test_a_sweep_has_its_best_trial_links_to_all_and_how_busy_the_machine_was(place, parent):
    with Children(parent) as children:
        for name, value in (("a_b-0", 0.25), ("c-0", 0.5)):
            config, directory = trial(place, name)
            children.begin(config, directory, {"sweep.state": "finished", "sweep.group": name[:-2]})
            children.late_rows(name, [{"step": 7, "time": 1e9, "held_out/knn_top1": value}])
            children.end(name, "FINISHED")
            children.best([name])
        children.best(["c-0", "a_b-0"])
    run = parent.client.get_run(parent.run_id)
    ids = {name: found(parent, name).info.run_id for name in ("a_b-0", "c-0")}
    assert run.data.tags["sweep.best"] == ids["c-0"]
    assert run.data.tags["sweep.best_name"] == "c-0"
    path = parent.client.download_artifacts(parent.run_id, "trials.json", str(place.path))
    entries = storage.read_json(path)
    assert {entry["name"]: entry["run_id"] for entry in entries} == ids
    assert entries[0]["tags"] == {"sweep.state": "finished", "sweep.group": "a_b"}
    assert entries[0]["metrics"] == {"held_out/knn_top1": 0.25}
    note = run.data.tags["mlflow.note.content"].splitlines()
    experiment = run.info.experiment_id
    link = f"#/experiments/{experiment}/runs/{ids['c-0']}"
    assert f"| [c-0]({link}) | finished | knn_top1 0.5 |" in note
    assert note.index(f"| [c-0]({link}) | finished | knn_top1 0.5 |") == len(note) - 2
    assert 0 <= run.data.metrics["system/cpu_utilization_percentage"] <= 100


def test_trials_that_ended_before_are_completed_once(place, parent, monkeypatch):
    monkeypatch.setattr(module, "LAST_SECONDS", 0.0)
    ended = []
    for name, state, status in (
        ("whole-0", "finished", "FINISHED"),
        ("unsent-0", "finished", "FINISHED"),
        ("deleted-0", "stopped", "FINISHED"),
        ("failed-0", "failed", "FAILED"),
    ):
        config, directory = trial(place, name)
        directory.finish("pretrain", {"loss": 0.5})
        storage.write_bytes(directory.path("metrics.jsonl"), b'{"step": 1, "time": 1, "loss": 1}\n')
        ended.append(EndedTrial(config.output, {"sweep.state": state}, status))
        if name in ("whole-0", "deleted-0"):
            with Children(parent) as children:
                children.begin(config, directory, {"sweep.state": state})
                children.end(name, status)
    whole, deleted = (found(parent, name).info.run_id for name in ("whole-0", "deleted-0"))
    parent.client.delete_run(deleted)

    for _ in range(2):
        with Children(parent) as children:
            children.catch_up(ended)
            begun = sorted(children._children)
            children.best(["whole-0"])
            wait_for(lambda: children._unsent() == [])
    assert begun == []
    for name, status in (
        ("unsent-0", "FINISHED"),
        ("deleted-0", "FINISHED"),
        ("failed-0", "FAILED"),
    ):
        run = found(parent, name)
        assert run.info.status == status and run.data.tags["mlflow.parentRunId"] == parent.run_id
        assert logged(parent, name) == [0, 1] and run.data.params
    assert found(parent, "whole-0").info.run_id == whole
    assert parent.client.get_run(parent.run_id).data.tags["sweep.best"] == whole


def test_a_trial_that_ended_before_its_metrics_were_sent_gets_them(place, parent, monkeypatch):
    monkeypatch.setattr(module, "LAST_SECONDS", 0.0)
    config, directory = trial(place, "begun-0")
    with Children(parent) as children:
        children.begin(config, directory, {"sweep.state": "open"})
    # The driver was killed after the trial had ended, and before it sent any of this.
    storage.make_directory(directory.path("checkpoints"))
    line = b'{"step": 1, "time": 1, "loss": 1, "held_out/linear_top1": 0.5}\n'
    storage.write_bytes(directory.path("metrics.jsonl"), line)
    directory.finish("pretrain", {"gflops": 0.25})
    with Children(parent) as children:
        children.catch_up([EndedTrial(config.output, {"sweep.state": "stopped"}, "FINISHED")])
    run = found(parent, "begun-0")
    assert (run.info.status, run.data.tags["sweep.state"]) == ("FINISHED", "stopped")
    assert run.data.metrics["loss"] == 1 and run.data.metrics["held_out/linear_top1"] == 0.5
    assert run.data.metrics["gflops"] == 0.25
