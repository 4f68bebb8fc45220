"""An ingest that was killed, and recordings that changed meanwhile."""

import json
import os

import pyarrow.parquet as pq
import pytest

from pipeline.store.clip_store import ClipStore
from tests.helpers.ingests import ingest_here, ingest_request
from tests.helpers.recordings import clip_name, write_recordings


@pytest.fixture
def raw(tmp_path):
    """Twelve recordings, each of its own length."""
    return write_recordings(tmp_path / "raw")


def test_a_killed_ingest_goes_on_with_what_is_missing(raw, tmp_path, monkeypatch):
    """Killed between two shards: the finished ones are not read again, and the store is that of an
    unbroken ingest."""
    whole = ingest_here(ingest_request("ntu60", raw, tmp_path / "whole", files_per_shard=3))

    class Killed(BaseException):
        pass

    def stop(done, total):
        if done >= 6:
            raise Killed

    store = tmp_path / "store"
    with pytest.raises(Killed):
        ingest_here(ingest_request("ntu60", raw, store, files_per_shard=3), progress=stop)
    finished = {
        path.stem: path.stat().st_mtime_ns for path in (store / "unfinished").glob("shard-*.json")
    }
    assert 2 <= len(finished) <= 4
    torn = sorted(finished)[0]  # its report is there, its rows are not what the report says
    damaged = bytearray((store / f"{torn}.parquet").read_bytes())
    damaged[100] ^= 1
    (store / f"{torn}.parquet").write_bytes(damaged)
    (store / "shard-00000.parquet.0123abcd.tmp").write_bytes(b"of the kill")
    for (
        path
    ) in raw.iterdir():  # Only what is missing is read: what finished shards hold is gone by now.
        dates = path.stat()
        if path.stem in set().union(
            *(clips_of(store / f"{name}.parquet") for name in finished if name != torn)
        ):
            path.write_bytes(bytes(dates.st_size))
            os.utime(path, ns=(dates.st_atime_ns, dates.st_mtime_ns))
    seen = []
    manifest = ingest_here(
        ingest_request("ntu60", raw, store, files_per_shard=3),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[0] == (3 * (len(finished) - 1), 12)
    assert manifest["fingerprint"] == whole["fingerprint"]
    assert manifest["shards"] == whole["shards"]
    ClipStore.open(str(store)).verify()
    assert not (store / "unfinished").exists() and not list(store.glob("*.tmp"))
    (store / "unfinished").mkdir()  # killed between manifest and tidying up
    assert ingest_here(ingest_request("ntu60", raw, store, files_per_shard=3)) == manifest
    assert not (store / "unfinished").exists()


def test_recordings_changed_within_their_size_are_ingested_anew_or_minded(raw, tmp_path, capsys):
    def stop(done, total):
        if done >= 6:
            raise KeyboardInterrupt

    store, first = tmp_path / "store", raw / clip_name(0)
    with pytest.raises(KeyboardInterrupt):
        ingest_here(ingest_request("ntu60", raw, store, files_per_shard=3), progress=stop)
    text = first.read_bytes()
    first.write_bytes(text.replace(b"0.", b"1.", 1))
    os.utime(first, ns=(1, 1))
    manifest = ingest_here(ingest_request("ntu60", raw, store, files_per_shard=3))
    assert (
        manifest["fingerprint"]
        == ingest_here(ingest_request("ntu60", raw, tmp_path / "b", files_per_shard=3))[
            "fingerprint"
        ]
    )
    assert "other dates" not in capsys.readouterr().out
    first.write_bytes(text)  # the store is whole by now: it is used, and that is said
    assert ingest_here(ingest_request("ntu60", raw, store, files_per_shard=3)) == manifest
    assert "have other dates than when" in capsys.readouterr().out


def clips_of(path):
    return set(pq.read_table(path, columns=["clip_id"])["clip_id"].to_pylist())


def test_what_another_ingest_left_unfinished_is_not_taken_up(raw, tmp_path):
    store = tmp_path / "store"
    first = ingest_here(ingest_request("ntu60", raw, store, preparation="recorded"))
    report = {
        "number": 0,
        "recordings": 12,
        "rejects": [],
        "flaws": [],
        "left_out": 0,
        "shard": first["shards"][0],
    }
    (store / "manifest.json").unlink()
    (store / "unfinished").mkdir()
    (store / "unfinished" / "settings.json").write_text(json.dumps(first["settings"]))
    (store / "unfinished" / "shard-00000.json").write_text(json.dumps(report))
    again = ingest_here(ingest_request("ntu60", raw, store))
    assert (
        again["fingerprint"]
        == ingest_here(ingest_request("ntu60", raw, tmp_path / "other"))["fingerprint"]
    )
    assert again["fingerprint"] != first["fingerprint"]
