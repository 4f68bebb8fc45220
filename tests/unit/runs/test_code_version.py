"""The version of the code that a run records."""

import pytest

from pipeline.core.paths import ROOT
from pipeline.runs import code_version as module
from pipeline.runs.code_version import code_version


@pytest.fixture(autouse=True)
def _forgotten():
    """Let each test, and whatever comes after it, work the version out anew."""
    code_version.cache_clear()
    yield
    code_version.cache_clear()


def git(changes):
    """Stands in for `_git`: a checkout with these changes."""
    answers = {"rev-parse": str(ROOT), "status": changes}

    def answer(*arguments):
        if arguments[1] == "--short=12":
            return "0123456789ab"
        return answers[arguments[0]]

    return answer


def test_changed_code_is_marked(monkeypatch):
    monkeypatch.setattr(module, "_git", git(changes=" M models/cost.py"))
    assert code_version() == "0123456789ab+dirty"


def test_a_process_keeps_the_version_that_it_runs(monkeypatch):
    monkeypatch.setattr(module, "_git", git(changes=""))
    assert code_version() == "0123456789ab"
    monkeypatch.setattr(module, "_git", git(changes=" M models/cost.py"))
    assert code_version() == "0123456789ab"
