"""What the searcher does where trials fail, and where its own hooks do."""

from types import SimpleNamespace

import pytest
from ray.tune.search import Searcher

from pipeline.core.errors import UserError
from pipeline.sweep.searcher import MOST_FAILED_IN_A_ROW, SourceSearcher
from pipeline.sweep.trial import TrialRecord


def record(name: str, state: str) -> TrialRecord:
    return TrialRecord(
        name=name,
        group=name,
        seed=0,
        overrides=[],
        params={},
        hash="",
        state=state,
        reason="No space left",
    )


def played(states):
    """A searcher whose trials end with these states, as soon as they are handed out."""
    waiting = list(states)
    ended = []

    class Book:
        def open(self, trial):
            # What a trial is that was finished before: nothing is handed out.
            return record(f"trial{len(ended)}", trial)

    source = SimpleNamespace(
        next_trial=lambda: waiting.pop(0) if waiting else None, ended=ended.append
    )
    progress = SimpleNamespace(end=lambda record: None)
    return SourceSearcher(source, Book(), orders=None, memory=None, progress=progress), ended


def test_trials_that_fail_one_after_another_end_the_sweep():
    searcher, ended = played(["failed"] * 9)
    assert searcher.suggest("id") == Searcher.FINISHED
    assert len(ended) == MOST_FAILED_IN_A_ROW
    assert isinstance(searcher.error, UserError)
    assert "trial4" in str(searcher.error) and "No space left" in str(searcher.error)


def test_failures_among_others_do_not():
    searcher, ended = played([*["failed"] * 4, "finished", *["failed"] * 4, "stopped"])
    assert searcher.suggest("id") == Searcher.FINISHED
    assert searcher.error is None and len(ended) == 10


def test_after_an_error_nothing_is_begun_or_written():
    searcher, ended = played(["finished"] * 3)

    def fail():
        raise UserError("the storage is away")

    searcher.attempt(fail)
    assert searcher.suggest("id") == Searcher.FINISHED and not ended
    with pytest.raises(UserError, match="away"):
        raise searcher.error
