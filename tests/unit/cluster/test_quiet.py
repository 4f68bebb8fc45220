"""What C++ writes to stderr goes to a file; what Python writes stays on the console."""

import os
import sys
from pathlib import Path

import pytest
from ray.data import DataContext

from pipeline.cluster.quiet import RAY_LOG, log_stderr, set_ray_messages


@pytest.fixture
def captured(capfd):
    """Read what reached the file descriptor of stderr."""
    with capfd.disabled():
        pass
    return lambda: capfd.readouterr().err


def test_only_what_c_writes_goes_to_the_log(tmp_path, captured):
    with log_stderr(str(tmp_path)):
        os.write(2, b"from the core\n")
        print("from Python", file=sys.stderr)
    os.write(2, b"afterwards\n")
    assert captured() == "from Python\nafterwards\n"
    assert (tmp_path / RAY_LOG).read_text() == "from the core\n"


def test_a_later_attempt_adds_to_the_log(tmp_path):
    for text in (b"first\n", b"second\n"):
        with log_stderr(str(tmp_path)):
            os.write(2, text)
    assert (tmp_path / RAY_LOG).read_text() == "first\nsecond\n"


def test_no_secret_stays_in_the_log_or_on_the_console(tmp_path, captured):
    with log_stderr(str(tmp_path)):
        os.write(2, b"\xff at http://me:swordfish@host\n")
        print("from Python: s3://KEY:swordfish@bucket", file=sys.stderr)
    assert captured() == "from Python: s3://***@bucket\n"
    assert (tmp_path / RAY_LOG).read_bytes() == b"\xff at http://***@host\n"


def test_no_log_where_nothing_was_written(tmp_path):
    with log_stderr(str(tmp_path)):
        pass
    assert not (tmp_path / RAY_LOG).exists()


def test_a_failure_passes_and_leaves_the_log(tmp_path):
    before = sys.stderr
    with pytest.raises(ValueError, match="lost"), log_stderr(str(tmp_path)):
        os.write(2, b"the reason\n")
        raise ValueError("lost")
    assert sys.stderr is before
    assert (tmp_path / RAY_LOG).read_text() == "the reason\n"


def test_a_log_that_cannot_be_kept_hides_no_failure(tmp_path, capsys):
    folder = tmp_path / "taken"
    folder.write_text("a file where the folder should be")
    with pytest.raises(ValueError, match="lost"), log_stderr(str(folder)):
        os.write(2, b"the reason\n")
        raise ValueError("lost")
    said = capsys.readouterr().out
    assert "cannot be written" in said
    local = Path(said.rsplit("stays in ", 1)[1].strip())
    assert local.read_text() == "the reason\n"
    local.unlink()


@pytest.mark.parametrize("quiet", [True, False])
def test_ray_data_shows_its_progress_unless_quiet(quiet):
    context = DataContext.get_current()
    before = context.enable_progress_bars
    try:
        set_ray_messages(quiet)
        assert context.enable_progress_bars is not quiet
        assert not context.enable_rich_progress_bars
        assert not context.print_on_execution_start
    finally:
        context.enable_progress_bars = before
