from pathlib import Path

import pytest

from pipeline.config.schema import load
from pipeline.core.errors import ConfigError
from pipeline.runs.rundir import RunDir, require_data, settle_places
from tests.helpers.cli import ROOT


def settled(tmp_path, *overrides):
    return settle_places(load([f"output={tmp_path / 'run'}", *overrides]))


def test_places_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw").mkdir()
    config = settle_places(load(["output=here", "data.raw=raw", "data.store=store"]))
    assert (config.output, config.data.raw, config.store) == tuple(
        str(tmp_path / p) for p in ("here", "raw", "store")
    )
    assert config.tracking.uri == f"sqlite:///{tmp_path}/here/mlflow.db"


def test_results_of_a_table_lie_in_the_checkout_unless_told_otherwise(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    table = settle_places(
        load(["experiment=ablation_nw_ucla", "output=/x", "ablate.page='~/page.md'"])
    ).ablate
    assert (table.results, table.page) == (
        str(ROOT / "docs/results/runs"),
        "/home/somebody/page.md",
    )
    remote = settle_places(
        load(["experiment=ablation_nw_ucla", "output=/x", "ablate.results=s3://bucket/runs"])
    )
    assert remote.ablate.results == "s3://bucket/runs"


def test_the_store_lies_in_the_output_unless_set(tmp_path):
    assert settled(tmp_path).store == f"{tmp_path}/run/store"


def test_a_missing_path_is_named(tmp_path):
    with pytest.raises(ConfigError, match=f"data.raw={tmp_path}/nothing: not found"):
        require_data(settled(tmp_path, f"data.raw={tmp_path}/nothing"), ingesting=True)
    with pytest.raises(ConfigError, match=r"data.raw: missing"):
        require_data(settled(tmp_path, "data=nw_ucla"), ingesting=True)
    with pytest.raises(ConfigError, match=r"no whole clip store at"):
        require_data(settled(tmp_path), ingesting=False)
    store_is_there(tmp_path)
    require_data(settled(tmp_path, "data=nw_ucla"), ingesting=True)
    require_data(settled(tmp_path), ingesting=False)


def store_is_there(tmp_path):
    (tmp_path / "run" / "store").mkdir(parents=True)
    (tmp_path / "run" / "store" / "manifest.json").write_text("{}")


def begin(config):
    run = RunDir.open(config)
    run.begin(config)
    return run


def test_a_finished_stage_makes_later_ones_stale(tmp_path):
    run = begin(settled(tmp_path))
    run.finish("report", {"report": "of nothing"})
    run.finish("ingest", {"clips": 7})
    assert run.results("report") is None and run.results("ingest") == {"clips": 7}


def test_whatever_comes_after_an_unfinished_stage_comes_again(tmp_path):
    config = settled(tmp_path)
    run = begin(config)
    assert run.unfinished(config) == ["ingest", "pretrain", "evaluate", "report"]
    store_is_there(tmp_path)
    for stage in ("ingest", "report"):
        run.finish(stage, {})
    assert run.unfinished(config) == ["pretrain", "evaluate", "report"]
    assert run.unfinished(settled(tmp_path, "stages=[report,ingest]")) == []
    for stage in ("pretrain", "evaluate", "report"):
        run.finish(stage, {})
    assert run.unfinished(config) == []
    (tmp_path / "run" / "store" / "manifest.json").unlink()
    assert run.unfinished(config) == ["ingest", "pretrain", "evaluate", "report"]


def test_a_request_that_came_to_nothing_can_be_corrected(tmp_path):
    run = begin(settled(tmp_path))
    run.state |= {"mlflow_run_id": "first", "cache": "memory", "fingerprint": "x"}
    run.save()
    assert RunDir.open(settled(tmp_path)).state == {"stages": {}, "mlflow_run_id": "first"}
    assert RunDir.open(settled(tmp_path, "train.epochs=13")).state == {"stages": {}}


def test_a_wrong_request_moves_nothing_aside(tmp_path):
    begin(settled(tmp_path)).finish("ingest", {"clips": 7})
    RunDir.open(settled(tmp_path, "fresh=true"))  # Checked, not begun.
    assert not list(tmp_path.glob("run.*"))


def test_a_remote_output_needs_a_tracking_server():
    with pytest.raises(ConfigError, match=r"output=s3://bucket/run: .* needs tracking.uri"):
        settle_places(load(["output=s3://bucket/run"]))


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("output=results", "output=results"),
        ("data.store=store", "data.store=store"),
        ("tracking.uri=sqlite:///mlflow.db", "tracking.uri=mlflow.db"),
    ],
)
def test_inside_a_job_what_would_be_lost_is_refused(monkeypatch, override, key):
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    with pytest.raises(
        ConfigError,
        match=f"{key}: relative to the job's temporary directory.*absolute path or a URI",
    ):
        settle_places(load(["output=/somewhere", override]))


def test_a_run_is_taken_up_where_it_stands(tmp_path):
    run = begin(settled(tmp_path))
    run.finish("ingest", {"clips": 7})
    again = RunDir.open(settled(tmp_path, "cluster.workers=1", "stages=[pretrain]"))
    assert again.results("ingest") == {"clips": 7} and again.results("pretrain") is None
    assert again.summary() == {"clips": 7}


def test_other_settings_in_the_same_place_are_named(tmp_path):
    begin(settled(tmp_path)).finish("ingest", {"clips": 7})
    with pytest.raises(ConfigError, match=r"train.epochs \(12 there, 13 now\)") as caught:
        RunDir.open(settled(tmp_path, "train.epochs=13"))
    assert "\n" not in str(caught.value)


def test_fresh_moves_the_old_run_aside(tmp_path):
    begin(settled(tmp_path)).finish("ingest", {"clips": 7})
    run = begin(settled(tmp_path, "fresh=true", "seed=5"))
    assert run.results("ingest") is None
    (aside,) = tmp_path.glob("run.*")
    assert "clips" in Path(aside, "run.json").read_text()


def test_a_directory_that_is_no_run_is_not_written_into(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("...")
    with pytest.raises(ConfigError, match="holds files but no run"):
        RunDir.open(settled(tmp_path))
