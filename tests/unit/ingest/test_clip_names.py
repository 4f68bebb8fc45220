"""Lists of clip names."""

import gzip
import tracemalloc

import pytest

from pipeline.config.places import settle_list
from pipeline.core.errors import ConfigError
from pipeline.ingest import clip_names
from pipeline.ingest.clip_names import left_out_clips, read_lines
from pipeline.ingest.formats import READERS

NTU = READERS["ntu"]()
CLIPS = ["S001C001P001R001A001", "S001C002P003R001A002", "S002C003P001R002A060"]


def test_lists_are_read_plain_or_packed_without_headings(tmp_path):
    text = "# mine\n\n302 samples\r\n" + "\r\n".join(CLIPS)
    for name, data in (("a.txt", text.encode()), ("b.gz", gzip.compress(text.encode()))):
        (tmp_path / name).write_bytes(data)
        assert read_lines("key", str(tmp_path / name)) == ["302 samples", *CLIPS]
        assert left_out_clips(str(tmp_path / name), NTU) == CLIPS


def test_a_list_that_unpacks_to_more_than_any_list_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(clip_names, "MAX_LIST_BYTES", 1 << 20)
    bomb = gzip.compress(bytes(64 << 20), 1)
    (tmp_path / "bomb.gz").write_bytes(bomb)
    (tmp_path / "long.txt").write_bytes(bytes((1 << 20) + 1))
    tracemalloc.start()
    for name in ("bomb.gz", "long.txt"):
        with pytest.raises(ConfigError, match=r"key=.*not a list of names \(larger than 1 MiB\)"):
            read_lines("key", str(tmp_path / name))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(bomb) < 1 << 20
    assert peak < 8 << 20


def test_the_published_lists_come_with_the_project():
    assert (len(left_out_clips("ntu60.txt", NTU)), len(left_out_clips("ntu120.txt", NTU))) == (
        302,
        535,
    )
    assert set(left_out_clips("ntu60.txt", NTU)) < set(left_out_clips("ntu120.txt", NTU))
    assert left_out_clips(None, NTU) == []
    assert settle_list("ntu60.txt") == "ntu60.txt"
    assert settle_list("other.txt").startswith("/")


def test_a_line_may_go_on_after_the_name_and_the_rest_is_said(tmp_path, capsys, monkeypatch):
    lines = [
        CLIPS[0],
        f"{CLIPS[1]}.skeleton",
        f"{CLIPS[2]},",
        f"{CLIPS[0][:-1]}2 # twice",
        "302 samples",
    ]
    (tmp_path / "ntu60.txt").write_text("\n".join(lines))
    found = left_out_clips(str(tmp_path / "ntu60.txt"), NTU)
    assert found == [*CLIPS, f"{CLIPS[0][:-1]}2"]
    assert "1 lines of" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)  # a list of one's own comes before the shipped one of the same name
    assert left_out_clips("ntu60.txt", NTU) == found


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, r"data\.left_out=.*list: not found"),
        (b"\x1f\x8bno gzip", "not a list of names"),
        (gzip.compress(b"x" * 99, mtime=0)[:20], "not a list of names"),
        (b"\xff\xfe\x00", "not a list of names"),
        (b"", "holds no clip names"),
        (b"clip one\nclip two\n", "holds no clip names"),
    ],
)
def test_a_list_that_is_none_is_named(tmp_path, data, message):
    if data is not None:
        (tmp_path / "list").write_bytes(data)
    with pytest.raises(ConfigError, match=message) as error:
        left_out_clips(str(tmp_path / "list"), NTU)
    assert "\n" not in str(error.value)
