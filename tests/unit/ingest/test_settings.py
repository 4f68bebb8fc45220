"""Recordings other than those of a store."""

import pytest

from pipeline.core.errors import ConfigError
from pipeline.ingest.formats import READERS
from pipeline.ingest.settings import require_same_recordings
from pipeline.ingest.stage import empty_side_warning
from tests.helpers.ingests import ingest_here, ingest_request
from tests.helpers.recordings import clip_name, people, skeleton_text, write_recordings


@pytest.fixture
def raw(tmp_path):
    """Twelve recordings, each of its own length."""
    return write_recordings(tmp_path / "raw")


def test_other_recordings_than_those_of_a_store_are_noticed_without_ingesting(
    raw, tmp_path, capsys
):
    ingest_here(ingest_request("ntu60", raw, tmp_path / "store"))
    store, reader = str(tmp_path / "store"), READERS["ntu"]()
    require_same_recordings([str(raw)], store, reader)
    for gone in ([str(tmp_path / "gone")], [str(raw), str(tmp_path / "gone")]):
        require_same_recordings(gone, store, reader)
    assert "other dates" not in capsys.readouterr().out
    (raw / clip_name(12)).write_bytes(skeleton_text(people(3)))
    with pytest.raises(ConfigError, match=r"data\.raw: other recordings than"):
        require_same_recordings([str(raw)], store, reader)


def test_a_protocol_with_an_empty_side_is_named_with_those_that_have_clips():
    protocols = {
        "xsub": {"train": 3, "test": 1},
        "lists": {"train": 0, "test": 0},
        "all": {"train": 4, "test": 0},
    }
    assert empty_side_warning(protocols, "xsub") is None
    assert empty_side_warning(protocols, "lists") == (
        "lists: no clip on its side train and test; with clips on both: data.protocol=xsub"
    )
    del protocols["xsub"]
    assert empty_side_warning(protocols, "all") == (
        "all: no clip on its side test, and no other protocol has clips on both sides"
    )
