"""The stores of a run are verified once, and again when a file has changed."""

import os

import numpy as np
import pytest

from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.runs import stores
from pipeline.runs.directory import RunDirectory
from pipeline.runs.state import OWN_STORE, read_state
from pipeline.runs.stores import open_store
from pipeline.store.clip_store import ClipStore
from tests.helpers.stores import STREAM_LAYOUT, clip_row, write_rows


@pytest.fixture
def store(tmp_path):
    joints = np.ones((2, 1, 4, 3), np.float32)
    return write_rows(str(tmp_path / "store"), [[clip_row("clip", joints)]], STREAM_LAYOUT)


@pytest.fixture
def verified(monkeypatch):
    """The stores that are read for their checksums, in order."""
    read = []
    verify = ClipStore.verify

    def recorded(store, progress=None):
        read.append(store.uri)
        verify(store, progress)

    monkeypatch.setattr(ClipStore, "verify", recorded)
    return read


def start(tmp_path):
    """The directory of a run as a new process opens it."""
    stores._VERIFIED.clear()
    directory = RunDirectory(str(tmp_path / "run"))
    directory.state = read_state(directory.path("run.json"))
    return directory


def test_a_store_is_verified_once_in_a_run_and_again_when_a_file_has_changed(
    tmp_path, store, verified
):
    open_store(store, OWN_STORE, start(tmp_path))
    open_store(store, OWN_STORE, start(tmp_path))
    assert len(verified) == 1
    shard = tmp_path / "store" / "shard-00000.parquet"
    os.utime(shard, ns=(1, 1))
    open_store(store, OWN_STORE, start(tmp_path))
    assert len(verified) == 2
    data = bytearray(shard.read_bytes())
    data[50] ^= 1
    shard.write_bytes(data)
    for _ in range(2):
        with pytest.raises(UserError, match=r"shard-00000\.parquet.*fails its checksum"):
            open_store(store, OWN_STORE, start(tmp_path))


def test_the_runs_of_one_process_share_what_was_verified(tmp_path, store, verified):
    open_store(store, OWN_STORE, start(tmp_path))
    open_store(store, OWN_STORE, RunDirectory(str(tmp_path / "trial")))
    assert len(verified) == 1


def test_a_large_store_on_object_storage_is_not_read_for_its_checksums(
    tmp_path, store, verified, monkeypatch, capsys
):
    monkeypatch.setattr(storage, "is_remote", lambda uri: True)
    monkeypatch.setattr(stores, "LARGEST_REMOTE_BYTES", 100)
    stores._verify(ClipStore.open(store))
    assert not verified and "checksums are left to it" in capsys.readouterr().out
