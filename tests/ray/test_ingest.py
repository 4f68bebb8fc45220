"""Shards that are written by Ray tasks. What is in them: tests/unit/ingest."""

import json
import shutil
import zipfile

import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.ingest.driver import ingest_recordings
from pipeline.store.clip_store import ClipStore
from tests.helpers.ingests import ingest_here, ingest_request
from tests.helpers.paths import SHARED_DATA
from tests.helpers.recordings import write_recordings

UCLA = SHARED_DATA / "nw-ucla.zip"


@pytest.fixture
def raw(tmp_path):
    """Twelve recordings, each of its own length."""
    return write_recordings(tmp_path / "raw")


def test_parallelism_does_not_show_in_the_store(ray_session, raw, tmp_path):
    seen = []
    reference = ingest_recordings(
        ingest_request("ntu60", raw, tmp_path / "a", files_per_shard=3),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert (seen[0], seen[-1]) == ((0, 12), (12, 12))
    options = ray_session.data.DataContext.get_current().execution_options
    limits = options.resource_limits
    options.resource_limits = limits.copy(cpu=1)
    try:
        serial = ingest_recordings(ingest_request("ntu60", raw, tmp_path / "b", files_per_shard=3))
    finally:
        options.resource_limits = limits
    assert serial == reference
    here = ingest_here(ingest_request("ntu60", raw, tmp_path / "c", files_per_shard=3))
    assert here == reference


def test_storage_that_fails_in_a_task_is_one_clear_line(ray_session, raw, tmp_path):
    # A directory where the shard should go: only the task that writes it finds out.
    (tmp_path / "store" / "shard-00000.parquet").mkdir(parents=True)
    with pytest.raises(UserError, match=r"^\S*shard-00000\.parquet: cannot be written") as error:
        ingest_recordings(ingest_request("ntu60", raw, tmp_path / "store"))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "store" / "manifest.json").exists()


def test_nw_ucla_is_whole_and_split_as_published(ray_session, tmp_path):
    if not UCLA.exists():
        pytest.skip(f"NW-UCLA is not there ({UCLA})")
    manifest = ingest_recordings(ingest_request("nw_ucla", UCLA, tmp_path / "store"))
    assert manifest["clips"] == 1484
    assert manifest["frames"] == 58_534
    assert manifest["rejected"] == []
    assert manifest["protocols"]["cross_view"] == {"train": 1020, "test": 464}
    dev = manifest["protocols"]["dev"]
    assert sum(dev.values()) == 1020
    assert dev["test"] > 150
    store = ClipStore.open(str(tmp_path / "store"))
    index = store.index()
    assert set(index.label) == set(range(10))
    assert set(index.subject) == set(range(1, 11))
    assert index.num_frames.min() == 1
    assert sorted(index.clip_id[index.num_frames == 1]) == ["a02_s09_e04_v02", "a02_s09_e04_v03"]
    row = int(np.flatnonzero(index.clip_id == "a01_s01_e01_v01")[0])
    with zipfile.ZipFile(UCLA) as archive:
        recorded = json.loads(archive.read("all_sqe/a01_s01_e01_v01.json"))["skeletons"]
    assert np.array_equal(store.clip(row)[:, 0], np.array(recorded, np.float32))
    shutil.rmtree(tmp_path / "store")
