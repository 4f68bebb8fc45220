"""Where things lie: local places become absolute, and what would be lost is refused."""

import pytest

from pipeline.config.compose import load
from pipeline.config.places import settle_list, settle_places, shipped_list
from pipeline.core.errors import ConfigError


def test_places_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw").mkdir()
    config = settle_places(load(["output=here", "data.raw=raw", "data.store=store"]), in_job=False)
    assert (config.output, config.data.raw, config.store) == tuple(
        str(tmp_path / part) for part in ("here", "raw", "store")
    )
    assert config.tracking.uri == f"sqlite:///{tmp_path}/here/mlflow.db"


def test_several_recordings_and_pooled_stores_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pool = "data.pool=[{store: more, clips: {camera: [1]}, weight: 0.5}]"
    config = settle_places(load(["data.raw=[a,b]", pool]), in_job=False)
    assert config.data.raw == [f"{tmp_path}/a", f"{tmp_path}/b"]
    assert [pooled.store for pooled in config.data.pool] == [f"{tmp_path}/more"]


def test_the_store_lies_in_the_output_unless_set(tmp_path):
    config = settle_places(load([f"output={tmp_path / 'run'}"]), in_job=False)
    assert config.store == f"{tmp_path}/run/store"


def test_a_remote_output_needs_a_tracking_server():
    with pytest.raises(ConfigError, match=r"output=s3://bucket/run: .* needs tracking.uri"):
        settle_places(load(["output=s3://bucket/run"]), in_job=False)


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("output=results", "output=results"),
        ("data.store=store", "data.store=store"),
        ("tracking.uri=sqlite:///mlflow.db", "tracking.uri=mlflow.db"),
    ],
)
def test_inside_a_job_what_would_be_lost_is_refused(override, key):
    message = f"{key}: relative to the job's temporary directory.*absolute path or a URI"
    with pytest.raises(ConfigError, match=message):
        settle_places(load(["output=/somewhere", override]), in_job=True)


def test_a_list_of_the_users_own_comes_before_one_that_is_shipped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert settle_list("ntu60.txt") == "ntu60.txt"
    assert shipped_list("ntu60.txt").is_file()
    (tmp_path / "ntu60.txt").write_text("S001C001P001R001A001\n")
    assert settle_list("ntu60.txt") == str(tmp_path / "ntu60.txt")
    assert shipped_list("ntu60.txt") is None
