"""What a run reads is compared with what it began with, whichever stages are left to run."""

import json
import shutil
import tempfile

import numpy as np
import pytest

from pipeline.config.compose import Request, load
from pipeline.config.data import PoolStore
from pipeline.core import storage
from pipeline.core.errors import ConfigError
from pipeline.preflight import plan_run
from pipeline.runs.announce import announce
from pipeline.runs.state import OWN_STORE, pool_key
from pipeline.store.manifest import read_manifest
from tests.helpers.stores import STREAM_LAYOUT, clip_row, write_rows

STAGES = ("ingest", "pretrain", "evaluate", "report")


def store_of(path, number):
    """A store of one clip, which depends on the number."""
    joints = np.full((2, 1, 4, 3), number, np.float32)
    return write_rows(str(path), [[clip_row("clip", joints)]], STREAM_LAYOUT)


@pytest.fixture(scope="module")
def base():
    """A configuration: composing one takes long."""
    return load(["data=nw_ucla"])


@pytest.fixture
def plan(base, tmp_path):
    """Plan a run in `run` on the stores `own` and `pooled`, with some settings changed."""

    def plan(stages=STAGES, store="own", pooled="pooled", raw=None, seed=0):
        pool = PoolStore(store=str(tmp_path / pooled), clips={}, weight=1.0)
        raw = raw and str(tmp_path / raw)
        data = {"store": str(tmp_path / store), "pool": [pool], "raw": raw}
        changed = {
            "stages": list(stages),
            "output": str(tmp_path / "run"),
            "seed": seed,
            "data": base.data.model_copy(update=data),
        }
        return plan_run(base.model_copy(update=changed), Request())

    return plan


@pytest.fixture(autouse=True)
def finished_run(tmp_path, plan):
    """A finished run."""
    store_of(tmp_path / "own", 1)
    store_of(tmp_path / "pooled", 2)
    begun = plan()
    begun.directory.begin(begun.config)
    for key, uri in ((OWN_STORE, tmp_path / "own"), (pool_key(0), tmp_path / "pooled")):
        begun.directory.claim(key, read_manifest(str(uri))["fingerprint"], str(uri))
    for stage in STAGES:
        begun.directory.finish(stage, {stage: 1})
    (tmp_path / "run" / "summary.json").write_text("{}")
    begun.directory.conclude()


@pytest.mark.parametrize("stages", [["evaluate"], ["report"], STAGES])
def test_other_clips_are_refused_and_both_stores_are_named(plan, tmp_path, stages):
    other = store_of(tmp_path / "other", 3)
    assert plan(stages).is_done
    with pytest.raises(ConfigError) as caught:
        plan(stages, store="other")
    own = tmp_path / "own"
    named = [
        f"data.store={other}: holds other clips",
        read_manifest(other)["fingerprint"][:8],
        f"{own}, fingerprint {read_manifest(str(own))['fingerprint'][:8]}",
    ]
    for text in named:
        assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_clips_in_the_pool_are_refused(plan, tmp_path):
    store_of(tmp_path / "other", 3)
    with pytest.raises(ConfigError, match=r"data\.pool\.0\.store=.*other: holds other clips"):
        plan(pooled="other")


def test_a_store_that_moved_is_the_same_store(plan, tmp_path):
    (tmp_path / "own").rename(tmp_path / "moved")
    assert plan(store="moved").is_done


def test_a_finished_run_is_shown_although_its_store_is_gone(plan, tmp_path, capsys):
    shutil.rmtree(tmp_path / "own")
    assert plan().is_done
    assert "no clip store there any more" in capsys.readouterr().out
    state = tmp_path / "run" / "run.json"
    values = json.loads(state.read_text())
    del values["stages"]["report"]
    state.write_text(json.dumps(values))
    with pytest.raises(ConfigError, match="no whole clip store"):
        plan()


def test_a_finished_run_on_storage_that_is_read_only_is_shown(plan, tmp_path, monkeypatch, capsys):
    (tmp_path / "run" / "summary.json").write_text('{"mlflow_run_id": "x", "linear_top1": 0.5}')

    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(storage, "write_bytes", refuse)
    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    done = plan()
    assert done.is_done
    announce(done.config, done.directory)
    shown = capsys.readouterr().out
    assert "linear_top1  50.0 %" in shown
    assert "mlflow.db is gone; the next stage that runs makes it anew" in shown
    # One that is not finished is refused before anything starts.
    with pytest.raises(ConfigError, match=r"output=.*run: cannot be written"):
        plan(["ingest", "inspect"])


def test_recordings_are_compared_although_ingest_is_not_asked_for(plan, tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a01_s01_e00").mkdir()
    with pytest.raises(ConfigError, match=r"raw"):
        plan(["evaluate"], raw="raw")


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "gone"])
def test_a_summary_is_written_again_from_the_results(plan, tmp_path, content):
    summary = tmp_path / "run" / "summary.json"
    summary.write_text(content)
    if content == "gone":
        summary.unlink()
    planned = plan()
    assert planned.todo == () and not planned.is_done


def test_a_damaged_state_runs_the_stages_again_under_the_same_settings(plan, tmp_path, capsys):
    (tmp_path / "run" / "run.json").write_text("")
    assert plan(["evaluate"]).todo == ("evaluate",)
    assert "run.json: damaged, and counts as missing" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="seed"):
        plan(seed=3)


def test_an_export_that_is_damaged_is_made_again_where_there_is_a_checkpoint(plan, tmp_path):
    step = tmp_path / "run" / "checkpoints" / "attempt" / "step-1"
    step.mkdir(parents=True)
    assert plan().is_done
    (step / "meta.json").write_text("{}")
    assert plan().todo == STAGES[1:]
    for name in ("encoder", "random"):
        (tmp_path / "run" / name).mkdir()
        (tmp_path / "run" / name / "config.json").write_text("{}")
    # What the evaluation left is missing now, and both encoders are there.
    assert plan().todo == STAGES[2:]
    (tmp_path / "run" / "evaluation.json").write_text("{}")
    assert plan().is_done
    (tmp_path / "run" / "encoder" / "config.json").write_text("{")
    assert plan().todo == STAGES[1:]
