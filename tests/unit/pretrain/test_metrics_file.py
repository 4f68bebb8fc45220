import json
import os

import pytest

from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.pretrain.metrics_file import MetricsFile
from pipeline.runs.metric_rows import read_rows

REMOTE = "s3://bucket/run/metrics.jsonl"


def row(step, **values):
    return {"step": step, "loss": 1 / (step + 3)} | values


@pytest.fixture
def uploads(monkeypatch):
    """Object storage: what was written whole, in order."""
    written = []
    monkeypatch.setattr(storage, "write_bytes", lambda uri, data: written.append(bytes(data)))
    return written


def test_rows_are_appended_and_the_file_is_never_written_again(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(str(path), 100)
    file.write_whole()
    assert path.read_bytes() == b""
    monkeypatch.setattr(storage, "write_bytes", None)  # a whole file from here on is an error
    inode = path.stat().st_ino
    for step in range(50):
        file.append(row(step))
        file.flush()
        assert read_rows(str(path)) == [row(number) for number in range(step + 1)]
    file.finish()
    assert path.stat().st_ino == inode and len(file) == 50


def test_a_row_that_changes_is_written_in_its_place_with_those_after_it(tmp_path):
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(str(path), 100)
    for step in range(6):
        file.append(row(step))
    file.flush()
    file.replace(3, row(3, **{"watch/knn_top1": 0.5}))
    file.append(row(6))
    file.flush()
    assert read_rows(str(path)) == [
        *(row(step) for step in range(3)),
        row(3, **{"watch/knn_top1": 0.5}),
        *(row(step) for step in range(4, 7)),
    ]


def test_rows_that_are_cut_off_leave_the_file(tmp_path):
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(str(path), 100)
    for step in range(6):
        file.append(row(step))
    file.flush()
    file.cut(2)
    file.append(row(9))
    file.flush()
    assert read_rows(str(path)) == [row(0), row(1), row(9)]
    assert path.read_text().endswith("\n") and path.read_text().count("\n") == 3


@pytest.mark.parametrize("change", ["replace", "cut"])
def test_a_kill_while_lines_are_taken_back_leaves_the_old_file(tmp_path, monkeypatch, change):
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(str(path), 100)
    for step in range(6):
        file.append(row(step))
    file.flush()
    before = path.read_bytes()
    if change == "replace":
        file.replace(3, row(3, **{"watch/knn_top1": 0.5}))
    else:
        file.cut(3)

    def kill(source, target):
        raise KeyboardInterrupt

    # The new file is complete by then, and the old one is untouched.
    with monkeypatch.context() as killed:
        killed.setattr(os, "replace", kill)
        with pytest.raises(KeyboardInterrupt):
            file.flush()
    assert path.read_bytes() == before
    file.flush()
    assert path.read_bytes() != before and read_rows(str(path))[:3] == [row(0), row(1), row(2)]


def test_what_could_not_be_written_is_written_with_the_next_flush(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(str(path), 100)
    for step in range(4):
        file.append(row(step))
    file.flush()
    file.cut(1)

    def full(uri, data):
        raise UserError(f"{uri}: cannot be written (no space left)")

    with monkeypatch.context() as disk:
        disk.setattr(storage, "write_bytes", full)
        for _ in range(2):
            with pytest.raises(UserError, match="no space left"):
                file.flush()
    file.flush()
    assert read_rows(str(path)) == [row(0)]


def test_rows_that_are_only_cut_leave_object_storage_at_the_end(uploads):
    file = MetricsFile(REMOTE, most_unwritten=100)
    for step in range(4):
        file.append(row(step))
    file.flush()
    file.cut(1)
    file.finish()
    assert [json.loads(line) for line in uploads[-1].splitlines()] == [row(0)]


def test_a_file_that_somebody_removed_comes_back_whole(tmp_path):
    path = tmp_path / "run" / "metrics.jsonl"
    file = MetricsFile(str(path), 100)
    file.append(row(0))
    file.flush()
    path.unlink()
    file.append(row(1))
    file.flush()
    assert read_rows(str(path)) == [row(0), row(1)]


def test_a_file_that_cannot_be_written_is_one_line_that_names_it(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.mkdir()
    file = MetricsFile(str(path), 100)
    file.append(row(0))
    with pytest.raises(UserError, match=r"metrics\.jsonl: cannot be written") as caught:
        file.flush()
    assert "\n" not in str(caught.value)


def test_uploads_to_object_storage_grow_with_the_file_and_not_with_its_square(uploads):
    file = MetricsFile(REMOTE, most_unwritten=10**9)
    for step in range(5000):
        file.append(row(step))
        file.flush()
    file.finish()
    assert [json.loads(line)["step"] for line in uploads[-1].splitlines()] == list(range(5000))
    assert sum(map(len, uploads)) < 3 * len(uploads[-1]) + len(uploads[-1])
    assert len(uploads) < 30
    # At the end there is nothing to say twice.
    file.finish()
    assert len(uploads) < 30


def test_no_more_rows_wait_for_an_upload_than_a_checkpoint_brings_back(uploads):
    file = MetricsFile(REMOTE, most_unwritten=50)
    for step in range(1000):
        file.append(row(step))
        file.flush()
        assert step + 1 - len(uploads[-1].splitlines()) <= 50


def test_a_changed_row_alone_is_uploaded_at_the_end(uploads):
    file = MetricsFile(REMOTE, most_unwritten=100)
    for step in range(100):
        file.append(row(step))
    file.flush()
    file.replace(7, row(7, **{"watch/knn_top1": 0.5}))
    file.flush()
    assert len(uploads) == 1
    file.finish()
    assert len(uploads) == 2 and json.loads(uploads[1].splitlines()[7])["watch/knn_top1"] == 0.5


TORN = [
    b'{"step": 2, "lo\n',
    b"\xff\xfe\n",
    b"7\n",
    b'{"loss": 1}\n',
    b'{"step": "2"}\n',
    b'{"step": true}\n',
    b'{"step": 2, "loss": "x"}\n',
    b"[" * 100_000 + b"\n",
    b"\0" * 100 + b"\n",
]


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("torn", TORN, ids=range(len(TORN)))
def test_a_line_that_was_torn_is_left_out(tmp_path, torn, last, capsys):
    path = tmp_path / "metrics.jsonl"
    rows = [row(1)] if last else [row(1), row(3)]
    lines = [json.dumps(whole).encode() + b"\n" for whole in rows]
    path.write_bytes(b"".join([lines[0], torn, *lines[1:]]))
    assert read_rows(str(path)) == rows
    shown = capsys.readouterr().out
    assert shown == "  metrics.jsonl: line 2 is not a whole row, and is left out\n"
    assert read_rows(str(tmp_path / "nowhere.jsonl")) == []


@pytest.mark.parametrize("step", [1, 2])
def test_a_step_that_does_not_ascend_ends_the_rows(tmp_path, step, capsys):
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps(row(number)) + "\n" for number in (1, 2, step, 4)]
    path.write_text("".join(lines))
    assert read_rows(str(path)) == [row(1), row(2)]
    shown = capsys.readouterr().out
    assert "metrics.jsonl: the step of line 3 is not a later one; the file is read" in shown
