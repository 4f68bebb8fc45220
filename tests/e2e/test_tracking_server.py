"""The trials of a sweep on an MLflow server that goes away in between, and what its pages show."""

import shutil
import time

import pytest
from mlflow.tracking import MlflowClient

from pipeline.config.compose import load
from pipeline.config.places import settle_places
from pipeline.runs.directory import RunDirectory
from pipeline.runs.tracking import Tracker
from pipeline.runs.tracking import children as module
from pipeline.runs.tracking.children import Children
from pipeline.runs.tracking.search import find_runs, recorded_run
from tests.helpers.mlflow_server import serving
from tests.helpers.ports import free_ports


@pytest.mark.slow
def test_what_a_server_missed_it_gets_when_it_answers_again(
    tmp_path, empty_database, monkeypatch, capsys
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(module, "OUTAGE_SECONDS", 0.5)
    database = tmp_path / "server.db"
    shutil.copy(empty_database, database)
    (port,) = free_ports(1)
    uri = f"http://127.0.0.1:{port}"
    settings = settle_places(load((f"tracking.uri={uri}",)), in_job=False)

    def begun(name: str):
        output = str(tmp_path / name)
        config = settings.model_copy(update={"name": name, "output": output})
        directory = RunDirectory(output)
        directory.begin(config)
        return config, directory

    with serving(database, tmp_path, port):
        parent = Tracker(*begun("sweep"))
        children = Children(parent).__enter__()
        children.begin(*begun("a-0"), {"sweep.state": "open"})
        children.rows("a-0", [{"step": 1, "time": 1e9, "loss": 3.0}])
        deadline = time.monotonic() + 60
        while children._unsent():
            assert time.monotonic() < deadline
            time.sleep(0.1)
    began = time.monotonic()
    children.rows("a-0", [{"step": 2, "time": 1e9, "loss": 2.0}])
    children.begin(*begun("b-0"), {"sweep.state": "open"})
    children.results("b-0", {"linear_top1": 0.5})
    assert time.monotonic() - began < 1
    said = ""
    while "is sent later" not in said:
        assert time.monotonic() < began + 60
        time.sleep(0.1)
        said += capsys.readouterr().out
    assert "\n" not in said.strip() and f"tracking.uri={uri}: cannot be used" in said
    with serving(database, tmp_path, port):
        for name in ("a-0", "b-0"):
            children.end(name, "FINISHED")
        children.best(["a-0", "b-0"])
        children.close()
        first, second = find_runs(uri, parent=parent.run_id, curves=["loss"])
        assert first.curves == {"loss": [(1, 3.0), (2, 2.0)]} and first.status == "FINISHED"
        assert second.metrics["linear/top1"] == 0.5 and second.artifacts == ["config.yaml"]
        assert recorded_run(uri, second.run_id).config
        tags = MlflowClient(uri).get_run(parent.run_id).data.tags
        assert tags["sweep.best"] == first.run_id and first.run_id in tags["mlflow.note.content"]
    assert "answers again" in capsys.readouterr().out
