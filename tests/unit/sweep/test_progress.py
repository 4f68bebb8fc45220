"""What the console shows of a sweep."""

from pipeline.config.sweep import Criterion
from pipeline.core.console import Bar
from pipeline.sweep.progress import Progress
from pipeline.sweep.trial import Rung, TrialRecord


def record(name, state, *values):
    rungs = [Rung(epoch=1, figures={"alignment": value}, time=0.0) for value in values]
    values = {"overrides": [], "params": {}, "hash": "", "rungs": rungs}
    return TrialRecord(name=name, group=name, seed=0, state=state, **values)


def test_it_goes_on_from_the_trials_of_earlier_attempts():
    criterion = Criterion(metric="alignment", held_out=0.2, every_epochs=1, max_clips=100)
    bar = Bar("sweep", 4)
    # Of this figure a small value is good.
    earlier = [record("a", "finished", 0.5, 0.4), record("b", "open", 0.6), record("c", "stopped")]
    progress = Progress(bar, criterion, earlier)
    assert (progress.best, bar.done) == ((0.4, "a"), 2)
    progress.report("b", 2, 0.45)
    assert progress.best == (0.4, "a")
    progress.report("b", 3, 0.3)
    progress.end(record("b", "finished"))
    assert (progress.best, bar.done) == ((0.3, "b"), 3)


def test_trials_of_a_table_are_not_compared():
    bar = Bar("sweep", 4)
    progress = Progress(bar, None, [record("a", "finished", 0.5)])
    assert (progress.best, bar.done) == (None, 1)
