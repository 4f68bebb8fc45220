"""Thousands of damaged recordings: each becomes the clip that it says, or a reject."""

import pytest

from pipeline.ingest.driver import ingest_recordings
from tests.helpers.damage import check_damaged_files


# A hundred of them, without Ray: tests/unit/ingest/test_shard.py.
@pytest.mark.slow
def test_five_thousand_damaged_files_are_clips_or_named_rejects(ray_session, tmp_path):
    check_damaged_files(tmp_path, 5000, ingest_recordings)
