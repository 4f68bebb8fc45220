"""A recorded run becomes an ordinary request, with the clips that it had."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import command_line
from pipeline.config.command_line import shell_command
from pipeline.config.compose import Request, load
from pipeline.config.places import settle_places
from pipeline.config.root import to_yaml
from pipeline.core.errors import ConfigError, UserError
from pipeline.preflight import plan_run
from pipeline.runs.again import Repetition, recorded_config
from pipeline.runs.code_version import code_version
from pipeline.runs.tracking.search import RecordedRun
from pipeline.store.manifest import read_manifest
from tests.helpers.stores import STREAM_LAYOUT, clip_row, write_rows

RUN_ID = "0123456789abcdef0123456789abcdef"
TYPED = ("data=nw_ucla", "train.epochs=3", "tracking.uri=sqlite:////nowhere.db")


def store_of(path, number):
    """A store of one clip, which depends on the number; its fingerprint."""
    joints = np.full((2, 1, 4, 3), number, np.float32)
    write_rows(str(path), [[clip_row("clip", joints)]], STREAM_LAYOUT)
    return read_manifest(str(path))["fingerprint"]


@pytest.fixture(autouse=True)
def working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SKELFUSE_STORAGE", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def record(tmp_path):
    """A record of a run in `first`, whose store and recordings are there."""
    (tmp_path / "raw").mkdir()
    fingerprint = store_of(tmp_path / "first" / "store", 1)
    typed = (*TYPED, "output=first", "data.raw=raw")
    config = settle_places(load(typed), in_job=False)
    tags = {
        "store.fingerprint": fingerprint,
        "run.output": config.output,
        "code.version": code_version(),
    }
    return RecordedRun(RUN_ID, "synthetic", "FINISHED", to_yaml(config), tags, typed, None)


def again(record, *own, quiet=True):
    return Repetition(record, own, None).request(quiet)


def configured(request):
    return settle_places(load(request.overrides, request.config_dir), in_job=False)


def test_it_is_the_same_run_in_another_directory_on_the_same_store(record, tmp_path):
    request = again(record)
    config, recorded = configured(request), recorded_config(record)
    assert config.output == f"{tmp_path}/outputs/synthetic-01234567"
    assert config.data.store == f"{tmp_path}/first/store"
    assert config.data.raw == f"{tmp_path}/raw"
    assert request.clips == record.tags["store.fingerprint"]
    assert config.train == recorded.train and config.stages == recorded.stages


def test_settings_of_the_request_come_on_top(record, tmp_path):
    request = again(record, "train.epochs=5", "objective=early", "output=second", "name=x")
    config = configured(request)
    assert (config.train.epochs, config.objective.name, config.name) == (5, "early", "x")
    assert config.output == f"{tmp_path}/second"
    assert request.clips is not None
    assert configured(again(record, "name=x")).output == f"{tmp_path}/outputs/x-01234567"


@pytest.mark.parametrize("output", ["first", "./first/", "{tmp_path}/first"])
def test_the_recorded_run_is_not_written_over(record, tmp_path, output):
    with pytest.raises(ConfigError, match=r"^output=.*/first: holds the recorded run 0123"):
        again(record, f"output={output.format(tmp_path=tmp_path)}")


def test_a_store_of_other_clips_is_refused(record, tmp_path):
    store_of(tmp_path / "other", 2)
    with pytest.raises(ConfigError, match=r"^data.store=.*/other: holds other clips \(fing"):
        again(record, "data.store=other")
    shutil.copytree(tmp_path / "first" / "store", tmp_path / "copy")
    assert again(record, "data.store=copy").clips == record.tags["store.fingerprint"]


@pytest.mark.parametrize("own", [["data=utkinect"], ["data.persons=2"]])
def test_other_clips_that_are_asked_for_are_not_compared(record, tmp_path, own):
    store_of(tmp_path / "other", 2)
    assert again(record, "data.store=other", *own).clips is None
    # Nor are those of the recorded run taken for them.
    config = configured(again(record, *own))
    assert (config.data.store, config.data.raw) == (None, None)
    config = configured(again(record, "data.raw=raw", *own))
    assert config.data.raw == f"{tmp_path}/raw"


def test_synthetic_recordings_of_another_seed_are_other_clips(tmp_path):
    config = settle_places(load(["output=first"]), in_job=False)
    tags = {"store.fingerprint": "f" * 64, "run.output": config.output}
    record = RecordedRun(RUN_ID, "x", "FINISHED", to_yaml(config), tags, (), None)
    assert again(record).clips == "f" * 64
    assert again(record, "seed=1").clips is None
    # A trial has the clips of its sweep, whatever its seed.
    named = settle_places(load(["output=first", "data.store=sweep"]), in_job=False)
    record = replace(record, config=to_yaml(named))
    assert again(record, "seed=1").clips == "f" * 64
    assert configured(again(record, "seed=1")).data.store == f"{tmp_path}/sweep"


def test_a_store_that_is_gone_is_made_again_and_compared(record, tmp_path):
    shutil.rmtree(tmp_path / "first")
    (tmp_path / "raw" / "a01_s01_e00_v01.json").write_text("[]")
    request = again(record)
    config = configured(request)
    assert config.data.store is None
    plan = plan_run(load(request.overrides), request)
    with pytest.raises(UserError, match="not the clips that"):
        plan.directory.claim("store", "another", config.store)


def test_a_store_that_holds_other_clips_by_now_is_made_again(record, tmp_path):
    shutil.rmtree(tmp_path / "first" / "store")
    store_of(tmp_path / "first" / "store", 2)
    assert configured(again(record)).data.store is None


def test_a_named_store_that_holds_other_clips_by_now_is_refused(record, tmp_path):
    store_of(tmp_path / "named", 2)
    typed = (*record.command, "data.store=named")
    config = settle_places(load(typed), in_job=False)
    with pytest.raises(ConfigError, match=r"data.store=.*/named: holds other clips"):
        again(replace(record, command=typed, config=to_yaml(config)))


def test_a_store_does_without_recordings_that_are_gone(record, tmp_path):
    (tmp_path / "raw").rmdir()
    assert configured(again(record)).data.raw is None
    plan_run(load(again(record).overrides), again(record))


def test_a_directory_of_the_user_comes_along_while_it_is_there(record, tmp_path, monkeypatch):
    (tmp_path / "mine" / "objective").mkdir(parents=True)
    (tmp_path / "mine" / "objective" / "own.yaml").write_text("defaults: [dc]\nname: own\n")
    typed = (*record.command, "objective=own")
    config = settle_places(load(typed, "mine"), in_job=False)
    record = replace(
        record, command=typed, config=to_yaml(config), config_dir=str(tmp_path / "mine")
    )
    request = again(record)
    assert request.config_dir == record.config_dir and "objective=own" in request.overrides
    shutil.rmtree(tmp_path / "mine")
    monkeypatch.setattr(command_line, "groups", lambda own: {})
    request = again(record)
    assert request.config_dir is None
    assert configured(request).objective == config.objective


def test_the_same_command_goes_on_where_it_stopped(record, tmp_path):
    (tmp_path / "raw").rmdir()
    request = again(record)
    plan = plan_run(load(request.overrides), request)
    # The stage `ingest` has nothing to do.
    assert plan.todo[0] == "ingest"
    plan.directory.begin(plan.config)
    plan.directory.claim("store", request.clips, plan.config.store)
    for stage in plan.todo:
        plan.directory.finish(stage, {})
    summary = Path(plan.config.output, "summary.json")
    summary.write_text(json.dumps({}))
    plan.directory.conclude()
    assert plan_run(load(request.overrides), request).is_done


def test_differences_are_named(record, capsys):
    tags = record.tags | {"code.version": "abc+dirty", "torch.version": "1.0"}
    again(replace(record, tags=tags), "train.epochs=5", quiet=False)
    shown = capsys.readouterr().out
    assert f"from_run: synthetic ({RUN_ID}, FINISHED)" in shown
    assert "train.epochs: recorded 3, now 5" in shown
    assert f"code: recorded abc+dirty, now {code_version()}" in shown
    assert "torch: recorded 1.0, now 2" in shown
    again(replace(record, tags=tags), "train.epochs=5")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("[1]", "must hold keys with values"),
        ("a: [", "not valid YAML"),
        ("a: !!python/object/apply:os.system [ls]", "has the tag"),
        ("a: &a [*a]", "refers to itself"),
        ("a: 2020-13-45", "not valid YAML"),
        ("a: " + "x" * (1 << 19), "larger than 256 KiB"),
        ("seed: 1", "is of another version"),
    ],
)
def test_a_configuration_that_others_wrote_is_read_as_plain_data(record, text, said):
    with pytest.raises(ConfigError) as refused:
        recorded_config(replace(record, config=text))
    message = str(refused.value)
    assert message.startswith(f"from_run={RUN_ID}: its config.yaml") and said in message
    assert "\n" not in message and len(message) < 400


def test_the_request_is_what_a_user_would_type(record):
    assert isinstance(again(record), Request)
    assert not any(word.startswith("from_run") for word in again(record).overrides)
    assert not any(word.startswith("tracking") for word in again(record).overrides)
    assert shell_command(again(record, "name=b")).startswith("skelfuse data=nw_ucla train.")
