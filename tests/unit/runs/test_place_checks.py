"""Whether a run can write, and whether servers answer."""

import errno
import json
import os
import socket
import tempfile
import threading

import pytest

from pipeline.config.compose import load
from pipeline.config.places import settle_places
from pipeline.core.errors import ConfigError
from pipeline.core.network import require_listener, require_web_server
from pipeline.runs.place_checks import require_writable
from pipeline.runs.relations import require_apart
from pipeline.store.manifest import FORMAT, MANIFEST


def settled(*overrides):
    return settle_places(load(list(overrides)), in_job=False)


def test_a_probe_leaves_nothing(tmp_path):
    store = f"data.store={tmp_path}/a/b"
    require_writable(settled(f"output={tmp_path}/run/deep", store), writes_store=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("override", "writes_store", "key"),
    [("seed=0", False, "output"), ("data.store=/elsewhere/store", True, "data.store")],
)
def test_storage_that_is_read_only_is_named(tmp_path, monkeypatch, override, writes_store, key):
    def mkdtemp(prefix, dir):
        if key == "output" or str(dir) == "/":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return real(prefix=prefix, dir=dir)

    real = tempfile.mkdtemp
    monkeypatch.setattr(tempfile, "mkdtemp", mkdtemp)
    with pytest.raises(ConfigError, match=f"{key}=.*Read-only file system"):
        require_writable(settled(f"output={tmp_path}/run", override), writes_store)


@pytest.mark.parametrize("output", ["store", "store/run", "link/run"])
def test_an_output_in_a_store_that_is_not_named_is_refused(tmp_path, output):
    (tmp_path / "store").mkdir()
    (tmp_path / "link").symlink_to("store")
    # Other programs have files of this name, too.
    (tmp_path / MANIFEST).write_text("{}")
    require_apart(settled(f"output={tmp_path}/{output}"))
    (tmp_path / "store" / MANIFEST).write_text(json.dumps({"format": FORMAT}))
    with pytest.raises(ConfigError, match=r"is or lies in the clip store .*/store; choose"):
        require_apart(settled(f"output={tmp_path}/{output}"))


def test_somebody_listens_or_not():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        require_listener("key", "shown", "127.0.0.1", port)
        require_web_server("key", f"http://127.0.0.1:{port}/path")
    with pytest.raises(ConfigError, match="key=shown: nobody answers there"):
        require_listener("key", "shown", "127.0.0.1", port)


def test_a_server_behind_a_proxy_is_not_asked(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    require_web_server("key", "http://mlflow.example.internal")


def test_an_answer_is_not_waited_for_longer_than_some_seconds(monkeypatch):
    monkeypatch.setattr("pipeline.core.network.PATIENCE_SECONDS", 0.05)
    ended = threading.Event()

    def no_answer(*_, **__):
        ended.wait(10)
        raise OSError("too late")

    monkeypatch.setattr(socket, "create_connection", no_answer)
    with pytest.raises(ConfigError, match="no answer within"):
        require_listener("key", "shown", "host", 1)
    ended.set()
