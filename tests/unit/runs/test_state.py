"""The state of a run: that of the version before is read, what is no state is refused."""

import json

import pytest

from pipeline.core.errors import ConfigError
from pipeline.runs.state import OWN_STORE, RunState, read_state


def write(path, values):
    path.write_text(json.dumps(values))
    return str(path)


def test_there_is_a_state_before_there_is_a_file(tmp_path):
    assert read_state(str(tmp_path / "run.json")) == RunState()


def test_the_version_before_is_read_whole(tmp_path):
    before = {
        "stages": {"ingest": {"clips": 7}},
        "summarised": True,
        "mlflow_run_id": "abc",
        "seconds": {"ingest": 1.5},
        "cache": "memory",
        "fingerprint": "f0",
        "pool_0": "f1",
    }
    state = read_state(write(tmp_path / "run.json", before))
    assert state.version == 2
    assert state.stages == {"ingest": {"clips": 7}}
    assert state.summarised
    assert (state.mlflow_run_id, state.cache) == ("abc", "memory")
    assert state.seconds == {"ingest": 1.5}
    assert state.code == {}
    assert state.stores == {OWN_STORE: "f0", "pool_0": "f1"}


@pytest.mark.parametrize("content", ["", "{", '{"stages": {', "[]", "null", "7", '{"stages": []}'])
def test_a_file_that_is_no_state_counts_as_missing(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    assert read_state(str(tmp_path / "run.json")) is None


def test_a_state_without_versions_of_the_code_is_read(tmp_path):
    values = RunState(stages={"ingest": {"clips": 7}}).model_dump()
    del values["code"]
    assert read_state(write(tmp_path / "run.json", values)).code == {}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stages": {}, "version": 3}, "of version 3, this program reads 1 and 2"),
        ({"stages": {}, "version": 2, "seconds": {"ingest": "long"}}, r"damaged \(seconds.ingest"),
        ({"stages": {}, "colour": "red"}, r"damaged \(colour"),
    ],
)
def test_what_is_no_state_is_refused_in_one_line(tmp_path, values, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read_state(write(tmp_path / "run.json", values))
    assert "\n" not in str(caught.value)
