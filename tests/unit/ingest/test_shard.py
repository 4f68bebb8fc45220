"""One shard by itself."""

import json
from pathlib import Path

from pipeline.ingest.formats import READERS
from pipeline.ingest.resume import ShardReport
from pipeline.ingest.shard import ingest_shard
from tests.helpers.damage import check_damaged_files
from tests.helpers.ingests import ingest_here, ingest_job
from tests.helpers.recordings import clip_name, write_recordings


def test_a_shard_of_nothing_usable_is_not_written(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a01_s01_e01_v01.json").write_bytes(b"{")
    reader, sources = READERS["nw_ucla"](), (str(tmp_path / "raw"),)
    job = ingest_job(sources, tmp_path / "store", reader, joints=20, persons=1)
    report = ingest_shard(job, 0, reader.listing(sources).members)
    assert (report.recordings, report.shard, len(report.rejects)) == (1, None, 1)
    assert not list((tmp_path / "store").glob("*.parquet"))


def test_a_report_is_kept_beside_its_shard_and_comes_back_whole(tmp_path):
    raw = write_recordings(tmp_path / "raw", 6)
    (raw / clip_name(6)).write_bytes(b"")
    reader, sources = READERS["ntu"](), (str(raw),)
    job = ingest_job(sources, tmp_path / "store", reader)
    report = ingest_shard(job, 3, reader.listing(sources).members)
    assert report.shard["name"] == "shard-00003.parquet"
    assert [reject.name for reject in report.rejects] == [clip_name(6)]
    assert {flaw.clip_id for flaw in report.flaws} == {Path(clip_name(n)).stem for n in (2, 5)}
    kept = json.loads((tmp_path / "store" / "unfinished" / "shard-00003.json").read_text())
    assert ShardReport.from_json(kept) == report


def test_about_a_hundred_damaged_files_are_clips_or_named_rejects(tmp_path):
    check_damaged_files(tmp_path, 130, ingest_here)


def test_every_reader_has_its_own_suffix_and_name():
    assert all(reader.name == name for name, reader in READERS.items())
