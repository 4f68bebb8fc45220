import threading
import time
from pathlib import Path

import pytest

from pipeline.config.compose import load
from pipeline.config.places import settle_places
from pipeline.core.errors import ConfigError, UserError
from pipeline.runs import directory
from pipeline.runs.directory import RunDirectory, require_data
from pipeline.runs.state import RunState
from tests.helpers.cli import ROOT


def settled(tmp_path, *overrides):
    return settle_places(load([f"output={tmp_path / 'run'}", *overrides]), in_job=False)


def test_results_of_a_table_lie_in_the_checkout_unless_told_otherwise(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    table = settle_places(
        load(
            [
                "sweep=ablation_nw_ucla",
                "output=/x",
                "sweep.published=[results/table.jsonl,'~/table.jsonl']",
            ]
        ),
        in_job=False,
    ).sweep
    assert table.published == [
        str(ROOT / "results/table.jsonl"),
        "/home/somebody/table.jsonl",
    ]
    remote = settle_places(
        load(
            [
                "sweep=ablation_nw_ucla",
                "output=/x",
                "sweep.published=[s3://bucket/table.jsonl]",
            ]
        ),
        in_job=False,
    )
    assert remote.sweep.published == ["s3://bucket/table.jsonl"]


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
    run = RunDirectory.open(config)
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
    run.state = RunState(mlflow_run_id="first", cache="memory", stores={"store": "x"})
    run.save()
    assert RunDirectory.open(settled(tmp_path)).state == RunState(mlflow_run_id="first")
    assert RunDirectory.open(settled(tmp_path, "train.epochs=13")).state == RunState()


def test_a_wrong_request_moves_nothing_aside(tmp_path):
    begin(settled(tmp_path)).finish("ingest", {"clips": 7})
    RunDirectory.open(settled(tmp_path, "fresh=true"))  # Checked, not begun.
    assert not list(tmp_path.glob("run.*"))


def test_a_run_is_taken_up_where_it_stands(tmp_path):
    run = begin(settled(tmp_path))
    run.finish("ingest", {"clips": 7})
    again = RunDirectory.open(settled(tmp_path, "cluster.workers=1", "stages=[pretrain]"))
    assert again.results("ingest") == {"clips": 7} and again.results("pretrain") is None
    assert again.summary() == {"clips": 7}


def test_other_settings_in_the_same_place_are_named(tmp_path):
    begin(settled(tmp_path)).finish("ingest", {"clips": 7})
    with pytest.raises(ConfigError, match=r"train.epochs \(12 there, 13 now\)") as caught:
        RunDirectory.open(settled(tmp_path, "train.epochs=13"))
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
        RunDirectory.open(settled(tmp_path))


def test_a_directory_that_is_read_stays_as_it_is(tmp_path):
    run = begin(settled(tmp_path))
    run.claim("store", "abc", "somewhere")
    before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    reading = RunDirectory.reading(run.uri)
    assert reading.state == run.state
    # It checks, and remembers for itself.
    with pytest.raises(UserError, match="not the clips"):
        reading.claim("store", "other", "somewhere")
    reading.claim("pool_0", "def", "elsewhere")
    reading.finish("ingest", {"clips": 7})
    reading.conclude()
    assert reading.summary() == {"clips": 7} and reading.state.stores["pool_0"] == "def"
    after = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    assert after == before


def test_threads_save_one_after_another(tmp_path, monkeypatch):
    run = begin(settled(tmp_path))
    writing, most = [], []

    def write_json(uri, value):
        writing.append(uri)
        most.append(len(writing))
        time.sleep(0.01)
        writing.remove(uri)

    monkeypatch.setattr(directory.storage, "write_json", write_json)
    threads = [threading.Thread(target=run.save) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 5
