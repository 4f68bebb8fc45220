"""The record of a run in MLflow, in real databases: what is gone is made anew, what is open closed.

The kinds of damage come from the issues of users: a run deleted in the page of MLflow, a database
deleted, a tracking store that moved, an experiment deleted, runs that stay RUNNING for ever.
"""

import shutil
import subprocess
import sys

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from pipeline.config.compose import load
from pipeline.config.places import settle_places
from pipeline.config.root import Config
from pipeline.config.sweep import Sweep
from pipeline.core.errors import ConfigError, UserError
from pipeline.core.termination import Terminated
from pipeline.runs.directory import RunDirectory
from pipeline.runs.tracking import Tracker, check_tracking, store
from pipeline.runs.tracking.experiment import find_or_create
from tests.helpers.cli import environment
from tests.helpers.paths import ROOT
from tests.helpers.tracked import LEFT, ROWS, Place


@pytest.fixture(scope="module")
def config() -> Config:
    return settle_places(load(("tracking.uri=null",)), in_job=False)


@pytest.fixture
def place(tmp_path, empty_database, config) -> Place:
    return Place(tmp_path, empty_database, config)


def status(tracker: Tracker) -> str:
    return tracker.client.get_run(tracker.run_id).info.status


def drop_connections(tracker: Tracker) -> None:
    """Let MLflow open the database again, as another process would."""
    tracker.client._tracking_client.store.engine.dispose()


def delete_run(place: Place, config: Config, run_id: str) -> Config:
    MlflowClient(config.tracking.uri).delete_run(run_id)
    return config


def delete_database(place: Place, config: Config, run_id: str) -> Config:
    drop_connections(Tracker(config, RunDirectory.open(config)))
    (place.path / "mlflow.db").unlink()
    return config


def name_another_store(place: Place, config: Config, run_id: str) -> Config:
    return place.settings(uri=place.uri("other.db"))


def find_a_run_of_the_same_id(place: Place, config: Config, run_id: str) -> Config:
    shutil.copy(place.path / "mlflow.db", place.path / "other.db")
    uri = place.uri("other.db")
    MlflowClient(uri).set_tag(run_id, "config.digest", "of another run")
    return place.settings(uri=uri)


DAMAGE = {
    delete_run: "it was deleted",
    delete_database: "does not hold it any more",
    name_another_store: "not in sqlite",
    find_a_run_of_the_same_id: "another run of its id",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_run_that_mlflow_lost_is_made_anew_from_the_output(place, capsys, damage):
    config = place.settings()
    former = place.finished(config)
    config = damage(place, config, former)
    assert capsys.readouterr().out == ""

    with place.start(config) as tracker:
        pass
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert former in said and tracker.run_id in said and DAMAGE[damage] in said
    assert tracker.run_id != former

    client = tracker.client
    run = client.get_run(tracker.run_id)
    assert run.info.status == "FINISHED" and run.info.run_name == config.name
    assert run.data.params["train.epochs"] == str(config.train.epochs)
    losses = client.get_metric_history(tracker.run_id, "loss")
    # The result of the stage is the last one, without a step.
    assert [(row.step, row.value) for row in losses if row.step] == [(1, 3.0), (2, 2.0), (3, 1.0)]
    assert run.data.metrics["watch/knn_top1"] == 0.5
    assert run.data.metrics["linear/top1"] == 0.75
    assert run.data.tags["checkpoint"] == "/somewhere"
    assert run.data.tags["store.fingerprint"] == "abc"
    assert run.data.tags["run.output"] == config.output and "run.incomplete" not in run.data.tags
    for name in LEFT:
        folder = name.rpartition("/")[0]
        paths = [file.path for file in client.list_artifacts(tracker.run_id, folder or None)]
        assert name in paths

    # From now on this is the run, and training goes on after the steps that it holds.
    again = place.start(config)
    assert (again.run_id, again.last_step) == (tracker.run_id, 3)
    assert capsys.readouterr().out == ""


def test_a_run_that_was_restored_goes_on(place, capsys):
    config = place.settings()
    former = place.finished(config)
    delete_run(place, config, former)
    MlflowClient(config.tracking.uri).restore_run(former)
    assert place.start(config).run_id == former
    assert capsys.readouterr().out == ""


def test_a_run_that_was_killed_while_it_was_made_is_completed(place, monkeypatch):
    config = place.settings()
    former = place.finished(config)
    delete_run(place, config, former)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Tracker, "_log_parameters", killed)
        place.start(config)
    tracker = place.start(config)
    runs = tracker.client.search_runs([tracker.client.get_run(former).info.experiment_id])
    assert [run.info.run_id for run in runs] == [tracker.run_id]
    assert runs[0].data.metrics["linear/top1"] == 0.75 and runs[0].data.params["seed"]


def test_a_moved_output_takes_its_run_along_and_a_copy_does_not(place):
    shared = place.settings("first")
    first = place.finished(shared)
    own = place.settings("own", uri=place.uri("own/mlflow.db"))
    second = place.finished(own)

    (place.path / "first").rename(place.path / "moved")
    tracker = place.start(place.settings("moved"))
    assert tracker.run_id == first
    output = tracker.client.get_run(first).data.tags["run.output"]
    assert output == str(place.path / "moved")
    # The database moves with the output.
    drop_connections(place.start(own))
    (place.path / "own").rename(place.path / "other")
    assert place.start(place.settings("other", uri=place.uri("other/mlflow.db"))).run_id == second

    shutil.copytree(place.path / "moved", place.path / "copy")
    with place.start(place.settings("copy")) as copy:
        assert copy.run_id != first
    # The original may be running.
    assert status(tracker) == "RUNNING"


def test_a_store_under_another_name_holds_the_same_run(place, capsys):
    config = place.settings()
    former = place.finished(config)
    (place.path / "mlflow.db").rename(place.path / "renamed.db")
    assert place.start(place.settings(uri=place.uri("renamed.db"))).run_id == former
    assert capsys.readouterr().out == ""


def test_a_deleted_experiment_is_refused_with_the_command_that_restores_it(place):
    config = place.settings()
    with place.start(config) as tracker:
        pass
    experiment = tracker.client.get_run(tracker.run_id).info.experiment_id
    tracker.client.delete_experiment(experiment)
    for output in ("run", "another"):
        refused = place.settings(output)
        with pytest.raises(ConfigError) as error:
            check_tracking(refused, RunDirectory.open(refused))
        message = str(error.value)
        assert "tracking.experiment=skelfuse: deleted" in message and "\n" not in message
        assert f"mlflow experiments restore --experiment-id {experiment})" in message
        assert f"MLFLOW_TRACKING_URI={config.tracking.uri} " in message
    assert not (place.path / "another").exists()
    # It is deleted after the check.
    with pytest.raises(UserError, match="deleted in MLflow") as error:
        Tracker(config, RunDirectory.open(config))
    assert error.value.exit_code == 1

    named = place.settings(tracking={"experiment": "another"})
    assert place.start(named).run_id != tracker.run_id
    tracker.client.restore_experiment(experiment)
    # A run stays in the experiment that it is in.
    assert place.start(place.settings("another")).run_id != tracker.run_id


def test_a_store_that_does_not_answer_is_refused_before_anything_is_written(place, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    config = place.settings(uri="http://127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"tracking\.uri=http://127\.0\.0\.1:9: cannot be used"):
        place.start(config)
    assert not (place.path / "run").exists()


def test_a_run_deleted_while_it_runs_says_what_to_do(place):
    tracker = place.start(place.settings())
    tracker.client.delete_run(tracker.run_id)
    with pytest.raises(UserError, match="the same command makes it anew"):
        tracker.metrics(ROWS)


def test_runs_that_nothing_uses_any_more_are_closed(place):
    # Moved aside with its own database, and with a shared one.
    for output, name in (("run", "run/mlflow.db"), ("shared", "mlflow.db")):
        config = place.settings(output, uri=place.uri(name))
        killed = place.start(config)
        assert status(killed) == "RUNNING"
        drop_connections(killed)
        fresh = RunDirectory.open(config.model_copy(update={"fresh": True}))
        fresh.begin(config.model_copy(update={"fresh": True}))
        if not (place.path / name).exists():
            shutil.copy(place.database, place.path / name)
        tracker = Tracker(config, fresh)
        assert tracker.run_id != killed.run_id and status(tracker) == "RUNNING"
        client = tracker.client
        if name == "run/mlflow.db":
            client = MlflowClient(f"sqlite:///{fresh.moved_aside}/mlflow.db")
        assert client.get_run(killed.run_id).info.status == "KILLED"

    # Another store, and other settings before anything was trained.
    elsewhere = place.start(place.settings("shared", uri=place.uri("elsewhere.db")))
    assert status(tracker) == "KILLED"
    other = place.settings("shared", uri=place.uri("elsewhere.db"), seed=7)
    assert place.start(other).run_id != elsewhere.run_id
    assert status(elsewhere) == "KILLED"


def test_children_left_running_are_closed_and_follow_a_parent_that_is_made_anew(place):
    parent_config = place.settings(sweep=Sweep(variants={"a": [], "b": []}, seeds=[0]))
    trial = place.settings("run/trial-0", name="trial-0")
    parent = place.start(parent_config)
    directory = RunDirectory.open(trial)
    directory.begin(trial)
    child = Tracker(trial, directory, parent.run_id)
    assert status(child) == "RUNNING"

    assert place.start(parent_config).run_id == parent.run_id
    assert status(child) == "KILLED"
    parent.client.delete_run(parent.run_id)
    anew = place.start(parent_config)
    tags = child.client.get_run(child.run_id).data.tags
    assert tags["mlflow.parentRunId"] == anew.run_id != parent.run_id


def test_a_child_whose_trial_does_not_know_it_is_deleted(place, monkeypatch):
    parent_config = place.settings(sweep=Sweep(variants={"a": [], "b": []}, seeds=[0]))
    parent = place.start(parent_config)
    config = place.settings("run/trial-0", name="trial-0")
    directory = RunDirectory.open(config)
    directory.begin(config)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Tracker, "_remember", killed)
        Tracker(config, directory, parent.run_id)
    # Killed a moment later, the trial goes on with its run.
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Tracker, "_log_parameters", killed)
        Tracker(config, directory, parent.run_id)
    known = directory.state.mlflow_run_id
    place.start(parent_config)
    experiment = parent.client.get_run(parent.run_id).info.experiment_id
    found = parent.client.search_runs([experiment], "attributes.run_name = 'trial-0'")
    assert [run.info.run_id for run in found] == [known]
    assert found[0].info.status == "KILLED"


def test_a_run_ends_with_the_status_of_its_error(place):
    tracker = place.start(place.settings())
    ends = {
        None: "FINISHED",
        ValueError: "FAILED",
        UserError: "FAILED",
        KeyboardInterrupt: "KILLED",
        Terminated: "KILLED",
    }
    for error, expected in ends.items():
        tracker.__exit__(error)
        assert status(tracker) == expected


def test_two_runs_that_create_one_experiment_share_it(place, monkeypatch):
    opened = place.store()
    existing = find_or_create(opened, "shared")
    find = opened.client.get_experiment_by_name
    answers = [None, find("shared")]
    monkeypatch.setattr(opened.client, "get_experiment_by_name", lambda _: answers.pop(0))
    assert find_or_create(opened, "shared") == existing and answers == []


def test_a_busy_database_is_asked_again(place, monkeypatch):
    opened = place.store()
    slept = []
    monkeypatch.setattr(store.time, "sleep", slept.append)
    errors = [MlflowException("(sqlite3.OperationalError) database is locked")] * 2

    def busy() -> str:
        if errors:
            raise errors.pop()
        return "done"

    assert opened.ask(busy) == "done" and slept == list(store.WAITS[:2])
    errors.extend([MlflowException("(sqlite3.OperationalError) database is locked")] * 9)
    with pytest.raises(UserError, match="database is locked"):
        opened.ask(busy)
    errors[:] = [MlflowException("no such run")]
    slept.clear()
    with pytest.raises(UserError, match="no such run"):
        opened.ask(busy)
    assert slept == []


RACE = """
import os, sys
from pipeline.core.environment import prepare_environment
prepare_environment()
from pipeline.runs.tracking.experiment import find_or_create
from pipeline.runs.tracking.store import Store
# Before the processes part, which all need it.
import mlflow.store.tracking.sqlalchemy_store
children = []
for number in range(3):
    child = os.fork()
    if child == 0:
        store = Store(sys.argv[1])
        run = store.ask(store.client.create_run, find_or_create(store, "shared"))
        for step in range(5):
            store.ask(store.client.log_metric, run.info.run_id, "number", number, step=step)
        os._exit(0)
    children.append(child)
sys.exit(max(os.waitpid(child, 0)[1] for child in children))
"""


def test_processes_that_begin_at_once_share_one_new_database(tmp_path):
    database = tmp_path / "new" / "mlflow.db"
    uri = f"sqlite:///{database}"
    done = subprocess.run(
        [sys.executable, "-c", RACE, uri],
        env=environment(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    client = MlflowClient(uri)
    (experiment,) = [e for e in client.search_experiments() if e.name == "shared"]
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.data.metrics["number"] for run in runs) == [0, 1, 2]
    # Neither locks nor halves of databases are left.
    assert [path.name for path in database.parent.iterdir()] == ["mlflow.db"]
