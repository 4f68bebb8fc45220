"""What C++ writes to stderr goes to a file; what Python writes stays on the console."""

import os
import sys

import pytest

from pipeline.cluster.quiet import RAY_LOG, log_stderr


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
