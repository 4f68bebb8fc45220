"""Finding runs in MLflow: of this program and of others, and one line for everything else."""

import os
from pathlib import Path

import pytest
from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

from pipeline.config.compose import Request, load
from pipeline.config.places import settle_places
from pipeline.core.errors import ConfigError
from pipeline.runs.directory import RunDirectory
from pipeline.runs.tracking import Tracker
from pipeline.runs.tracking.curves import MOST_POINTS
from pipeline.runs.tracking.search import find_runs, recorded_run
from tests.helpers.tracked import RESULTS, Place

FOREIGN = "somebody's <b>run</b>"


@pytest.fixture(scope="module")
def place(tmp_path_factory, empty_database) -> Place:
    config = settle_places(load(("tracking.uri=null",)), in_job=False)
    return Place(tmp_path_factory.mktemp("search"), empty_database, config)


@pytest.fixture(scope="module")
def uri(place) -> str:
    """A tracking store with a sweep of two trials, and a run of another program."""
    store = place.store()
    parent = tracked(place, "sweep", Request(("sweep=x", "name='a b'"), "/own"))
    for number in (0, 1):
        name = f"point-{number}"
        config = place.settings(f"sweep/{name}", name=name, seed=number)
        directory = RunDirectory(config.output)
        directory.begin(config)
        with Tracker(config, directory, parent.run_id) as tracker:
            rows = []
            for step in range(1, 1001):
                rows.append({"step": step, "time": 1e9 + step, "loss": 1 / step})
            tracker.metrics(rows)
            tracker.results(RESULTS["pretrain"] | RESULTS["evaluate"])
    client = store.client
    foreign = client.create_run(client.get_experiment_by_name("skelfuse").experiment_id).info.run_id
    client.log_batch(
        foreign,
        [Metric("loss", 2.0, 5, 0), Metric("loss", 1.0, 6, 0), Metric("bad", float("nan"), 5, 0)],
        [Param("train.epochs", "many")],
    )
    client.set_tag(foreign, "mlflow.runName", FOREIGN)
    client.create_experiment("empty")
    return store.uri


def tracked(place: Place, name: str, request: Request | None = None) -> Tracker:
    config = place.settings(name, name=name)
    directory = RunDirectory(config.output)
    directory.begin(config)
    return Tracker(config, directory, request=request)


def ids(uri: str) -> dict[str, str]:
    return {run.name: run.run_id for run in find_runs(uri)}


def test_runs_of_every_origin_are_found_as_plain_values(uri, place):
    runs = find_runs(uri, experiment="skelfuse", curves=["loss", "missing"])
    assert [run.name for run in runs] == ["sweep", "point-0", "point-1", FOREIGN]
    sweep, first, _, foreign = runs
    assert first.is_ours and first.parent == sweep.run_id and first.status == "FINISHED"
    assert first.params["seed"] == "0" and first.metrics["linear/top1"] == 0.75
    assert first.tags["run.output"] == str(place.path / "sweep" / "point-0")
    assert not any(name.startswith("mlflow.") for name in first.tags)
    assert first.artifacts == ["config.yaml"] and first.seconds >= 0
    # The result, which has no step, is not a point of the curve.
    assert list(first.curves) == ["loss"] and len(first.curves["loss"]) == MOST_POINTS
    assert first.curves["loss"][0] == (1, 1.0) and first.curves["loss"][-1] == (1000, 0.001)

    assert not foreign.is_ours and foreign.parent is None and foreign.seconds is None
    assert foreign.metrics == {"loss": 1.0} and foreign.params == {"train.epochs": "many"}
    assert foreign.curves == {"loss": [(0, 1.0)]} and foreign.artifacts == []


def test_conditions_narrow_the_runs_down(uri):
    known = ids(uri)

    def names(**conditions) -> list[str]:
        return [run.name for run in find_runs(uri, **conditions)]

    assert names(parent=known["sweep"]) == ["point-0", "point-1"]
    assert names(parent=known["sweep"], filter="params.seed = '1'") == ["point-1"]
    assert names(filter="metrics.`linear/top1` > 0.5") == ["point-0", "point-1"]
    chosen = [known["point-1"], known[FOREIGN], known["point-0"]]
    assert names(run_ids=chosen) == ["point-1", FOREIGN, "point-0"]
    assert names(run_ids=chosen, filter="params.seed = '0'") == ["point-0"]


REFUSED = {
    "unknown experiment": ({"experiment": "skelfus"}, "did you mean skelfuse"),
    "empty experiment": ({"experiment": "empty"}, "compare.experiment=empty: no run of"),
    "unreadable filter": ({"filter": "params.seed >< 1"}, "MLflow cannot read it ("),
    "filter that nothing meets": ({"filter": "metrics.loss > 9"}, "metrics.loss > 9: no run of"),
    "unknown run": ({"run_ids": ["0" * 32]}, f"compare.runs={'0' * 32}: no run of this id"),
    "run id with a quote": ({"run_ids": ["' or 1=1"]}, "no run of this id"),
    "unknown sweep": ({"parent": "abc"}, "compare.sweep=abc: no run of this id"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_found_is_one_line(uri, case):
    conditions, expected = REFUSED[case]
    with pytest.raises(ConfigError) as error:
        find_runs(uri, **conditions)
    assert expected in str(error.value) and "\n" not in str(error.value)


def test_a_sweep_without_trials_and_a_deleted_run_are_one_line(uri):
    known = ids(uri)
    with pytest.raises(ConfigError, match=r"compare\.sweep=.*no run of"):
        find_runs(uri, parent=known["point-0"])
    client = MlflowClient(uri)
    client.delete_run(known["point-0"])
    try:
        with pytest.raises(ConfigError, match=r"deleted in .*; restore it"):
            find_runs(uri, run_ids=[known["point-0"]])
        with pytest.raises(ConfigError, match=r"from_run=.*deleted in"):
            recorded_run(uri, known["point-0"])
    finally:
        client.restore_run(known["point-0"])


def test_a_server_that_does_not_answer_is_one_line(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for look in (find_runs, lambda uri: recorded_run(uri, "abc")):
        with pytest.raises(ConfigError, match=r"tracking\.uri=http://127\.0\.0\.1:9: cannot be"):
            look("http://127.0.0.1:9")


def test_a_recorded_run_has_its_configuration_and_its_command(uri, place):
    run = recorded_run(uri, ids(uri)["sweep"])
    assert run.config == (place.path / "sweep" / "config.yaml").read_text()
    assert run.command == ("sweep=x", "name='a b'") and run.config_dir == "/own"
    assert run.tags["config.digest"] and run.tags["torch.version"] and run.name == "sweep"
    assert recorded_run(uri, ids(uri)["point-0"]).command is None
    MlflowClient(uri).set_tag(run.run_id, "run.command", '{"a": 1}')
    assert recorded_run(uri, run.run_id).command is None


def test_a_run_that_cannot_be_run_again_is_one_line(uri, place):
    known = ids(uri)

    def refusal(run_id: str) -> str:
        with pytest.raises(ConfigError) as error:
            recorded_run(uri, run_id)
        assert "\n" not in str(error.value) and str(error.value).startswith(f"from_run={run_id}:")
        return str(error.value)

    assert "no run of this id" in refusal("abc")
    assert "another program wrote this run" in refusal(known[FOREIGN])
    artifacts = MlflowClient(uri).get_run(known["point-1"]).info.artifact_uri
    config = Path(artifacts.removeprefix("file://"), "config.yaml")
    config.write_bytes(b"\xff\xfe")
    assert "is no text" in refusal(known["point-1"])
    os.truncate(config, 10**7)
    assert "too large (10,000,000 bytes)" in refusal(known["point-1"])
    config.unlink()
    assert "has no config.yaml" in refusal(known["point-1"])
