"""The directory of Ray's sockets is short and can be written."""

import os

import pytest

from pipeline.cluster import temporary
from pipeline.cluster.temporary import settle_ray_directory
from pipeline.core.errors import ConfigError


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    # Set and deleted, so that what a test leaves is undone.
    for name in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def settle():
    said = []
    settle_ray_directory(said.append)
    return os.environ.get("RAY_TMPDIR"), said


def test_a_usable_directory_stays():
    assert settle() == (None, [])


def test_another_one_takes_the_place_of_what_ray_cannot_use(tmp_path, monkeypatch):
    long = tmp_path / ("scratch_of_a_job_" * 5)
    long.mkdir()
    (tmp_path / "file").touch()
    for name, value, problem in (
        ("TMPDIR", str(long), "too long"),
        ("RAY_TMPDIR", str(tmp_path / "file"), "too long|cannot be written"),
        ("RAY_TMPDIR", "/no/such", "does not exist"),
        ("RAY_TMPDIR", "/dev/null", "cannot be written"),
        ("RAY_TMPDIR", "here", "not an absolute path"),
        ("RAY_TMPDIR", "", "not an absolute path"),
    ):
        monkeypatch.setenv(name, value)
        directory, (line,) = settle()
        assert directory == "/tmp"
        assert any(part in line for part in problem.split("|"))
        monkeypatch.delenv("RAY_TMPDIR")


def test_without_any_directory_the_line_says_what_to_do(monkeypatch):
    monkeypatch.setattr(temporary, "OTHERS", ("/dev/null",))
    monkeypatch.setenv("TMPDIR", "/" + "x" * 100)
    with pytest.raises(ConfigError, match=r"RAY_TMPDIR=.*name a directory of at most 37 bytes"):
        settle()
