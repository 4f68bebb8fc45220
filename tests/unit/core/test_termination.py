"""SIGTERM and Ctrl-C, as handlers in this process; what would end it is only remembered."""

import signal
import threading

import pytest

from pipeline.core import termination
from pipeline.core.termination import CHECKPOINT_SECONDS, TERMINATED, Ending, Terminated


class Left(BaseException):
    """Stands in for the end of the process."""


@pytest.fixture
def timers(monkeypatch):
    """What was to happen later: seconds -> action. Time stands still, and nobody leaves."""
    later = {}

    def leave(line, code):
        raise Left(line, code)

    monkeypatch.setattr(termination, "after", later.__setitem__)
    monkeypatch.setattr(termination, "leave", leave)
    monkeypatch.setattr(termination.last_words, "_send", lambda line: None)
    monkeypatch.setattr(termination.atexit, "register", lambda function: None)
    monkeypatch.setattr(termination, "ONE_REQUEST_SECONDS", -1)
    return later


@pytest.fixture
def ending(timers):
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield Ending()
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_before_a_run_there_is_nothing_to_close(ending):
    ending.listen()
    with pytest.raises(Left, match=TERMINATED) as left:
        signal.raise_signal(signal.SIGTERM)
    assert left.value.args[1] == 143


def test_in_a_run_everything_is_closed_on_the_way(ending):
    closed = []
    with pytest.raises(Terminated), ending.guarded():
        try:
            signal.raise_signal(signal.SIGTERM)
        except Exception:
            pytest.fail("taken for an error")
        finally:
            closed.append(True)
    assert closed


def test_a_second_one_ends_at_once_but_not_if_the_same_comes_twice(ending, monkeypatch):
    with pytest.raises(Left, match=TERMINATED), ending.guarded():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            monkeypatch.setattr(termination, "ONE_REQUEST_SECONDS", 60)
            signal.raise_signal(signal.SIGTERM)
            monkeypatch.setattr(termination, "ONE_REQUEST_SECONDS", -1)
            signal.raise_signal(signal.SIGTERM)


ENDS = {signal.SIGTERM: Terminated, signal.SIGINT: KeyboardInterrupt}


@pytest.mark.parametrize("number", ENDS)
def test_training_goes_on_until_its_checkpoint_is_written(ending, number):
    went_on = []
    asked = []
    with (
        pytest.raises(ENDS[number]),
        ending.guarded(),
        ending.checkpoint_first(lambda: asked.append(True)),
    ):
        signal.raise_signal(number)
        went_on.append(True)
        writer = threading.Thread(target=ending.checkpoint_written)
        writer.start()
        writer.join()
        pytest.fail("went on after the checkpoint")
    assert asked == went_on == [True]


@pytest.mark.parametrize("number", ENDS)
def test_a_checkpoint_that_takes_too_long_is_not_waited_for(ending, timers, number):
    with (
        pytest.raises(ENDS[number]),
        ending.guarded(),
        ending.checkpoint_first(lambda: None),
    ):
        signal.raise_signal(number)
        timers[CHECKPOINT_SECONDS]()
        pytest.fail("waits for ever")
    # Later it has no effect.
    timers[CHECKPOINT_SECONDS]()


@pytest.mark.parametrize("end", ["by itself", "with an error"])
def test_a_training_that_ends_meanwhile_is_terminated_all_the_same(ending, end):
    with (
        pytest.raises(Terminated),
        ending.guarded(),
        ending.checkpoint_first(lambda: None),
    ):
        signal.raise_signal(signal.SIGTERM)
        if end == "with an error":
            # A batch system ends the workers, too.
            raise OSError("worker died")


def test_a_second_interrupt_waits_for_no_checkpoint(ending):
    with (
        pytest.raises(KeyboardInterrupt),
        ending.guarded(),
        ending.checkpoint_first(lambda: None),
    ):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("waits")


def test_a_handler_that_was_there_says_what_a_signal_means(ending):
    def lost(number, frame):
        ending.interrupt(ValueError("the directory is lost"))

    signal.signal(signal.SIGINT, lost)
    with (
        pytest.raises(ValueError, match="lost"),
        ending.guarded(),
        ending.checkpoint_first(lambda: pytest.fail("asked for a checkpoint")),
    ):
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is lost


def test_a_lost_cluster_is_an_error_now_and_the_end_if_that_has_no_effect(ending, timers):
    error = OSError("Ray is gone")
    with pytest.raises(OSError, match="Ray is gone"), ending.guarded():
        ending.lose(error)
        pytest.fail("goes on")
    assert ending.abandoned
    with pytest.raises(Left, match="error: Ray is gone"):
        timers[termination.LOST_SECONDS]()
