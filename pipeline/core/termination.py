"""The end of a run from outside: SIGTERM, Ctrl-C, and the loss of what the run works on.

SIGTERM is what `ray job stop`, Kubernetes and batch schedulers send before they kill a process.

    before a run begins    one line, exit code 143
    in a stage             Terminated is raised in the main thread: everything is closed on the way
    while training         training is asked for a checkpoint of its newest step; then the same
    a second time          one line, exit code 143, at once

Ctrl-C while training asks for a checkpoint, too, and becomes a KeyboardInterrupt after it.

Signals belong to the whole process. So one `Ending`, at the end of this module, handles them all.
"""

import _thread
import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from pipeline.core.last_words import last_words
from pipeline.core.shown_text import one_line

# 128 + 15: what a shell reports for a process that SIGTERM ended.
TERMINATED_CODE = 143
TERMINATED = "terminated; the same command goes on from here"
# How long training may take to write a checkpoint. Kubernetes kills after 30 seconds.
CHECKPOINT_SECONDS = 15
# How long everything may take that is done after SIGTERM.
CLOSING_SECONDS = 25
# `timeout` signals a process and its group: then the process gets one request twice.
ONE_REQUEST_SECONDS = 1
# How long a run that has lost its cluster may take to close what it can.
LOST_SECONDS = 10


class Terminated(BaseException):
    """SIGTERM came. Like KeyboardInterrupt it is no Exception: no handler of errors takes it."""


class Ending:
    """How this process ends when it is asked to from outside.

    Attributes:
        asked: whether it was asked to end.
        abandoned: whether the end must not wait for anything, because the cluster is gone.
    """

    def __init__(self) -> None:
        self.asked = False
        self.abandoned = False
        # Whether somebody catches what is raised.
        self._guarded = False
        self._asked_at = 0.0
        # Asks for a checkpoint; None where there is none to write.
        self._ask: Callable[[], None] | None = None
        # What is raised once the checkpoint is written, or takes too long.
        self._after_checkpoint: BaseException | None = None
        # What another thread wants the main thread to raise, and how often it has interrupted it.
        self._pending: BaseException | None = None
        self._interrupts = 0
        # What a KeyboardInterrupt stands for, see `interrupt`.
        self._meant: BaseException | None = None

    @property
    def hurried(self) -> bool:
        """True if the end must not wait for Ray: it may be gone, or be ended by the same signal.

        What is left on a cluster, or of a local Ray, ends with this process.
        """
        return self.asked or self.abandoned

    def listen(self) -> None:
        """Handle SIGTERM from now on. Call it again after Ray has put its own handler there.

        Only the main thread can do so; elsewhere it has no effect.
        """
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.on_signal)

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Raise Terminated in the block, where it is caught, instead of leaving at once."""
        self.asked = False
        self._after_checkpoint = None
        self._meant = None
        self._guarded = True
        self.listen()
        try:
            with self.meant():
                yield
        finally:
            self._guarded = False

    @contextmanager
    def checkpoint_first(self, ask: Callable[[], None]) -> Iterator[None]:
        """Ask for a checkpoint before SIGTERM and Ctrl-C end the block.

        Args:
            ask: asks for the checkpoint, and returns at once. Whoever has written it calls
                `checkpoint_written`.
        """
        before = signal.getsignal(signal.SIGINT)
        in_main_thread = threading.current_thread() is threading.main_thread()

        def on_interrupt(number: int, frame: FrameType | None) -> None:
            try:
                # It may mean something else, if it was not Ctrl-C that sent the signal.
                if callable(before):
                    before(number, frame)
            except KeyboardInterrupt as error:
                if self._meant is not None:
                    raise
                self._end(error)

        if in_main_thread:
            signal.signal(signal.SIGINT, on_interrupt)
        self._ask = ask
        try:
            with self.meant():
                yield
        except Exception:
            # A batch system may have ended the workers, too. That is no failure of the run.
            if self._after_checkpoint is not None:
                raise self._after_checkpoint from None
            raise
        finally:
            self._ask = None
            self._pending = None
            if in_main_thread:
                signal.signal(signal.SIGINT, before)
        # The block may have come to its own end meanwhile.
        if self._after_checkpoint is not None:
            raise self._after_checkpoint

    def interrupt(self, error: BaseException) -> NoReturn:
        """Raise an error from a signal handler, so that `meant` finds it.

        A handler may interrupt Ray, which passes on KeyboardInterrupt and drops all other errors.
        """
        self._meant = error
        raise KeyboardInterrupt

    @contextmanager
    def meant(self) -> Iterator[None]:
        """Raise what a KeyboardInterrupt of the block stands for."""
        try:
            yield
        except KeyboardInterrupt:
            error = self._meant
            self._meant = None
            if error is None:
                raise
            raise error from None

    def checkpoint_written(self) -> None:
        """End the block of `checkpoint_first`; callable from any thread."""
        if self._ask is not None and self._after_checkpoint is not None:
            self.raise_in_main_thread(self._after_checkpoint)

    def raise_in_main_thread(self, error: BaseException) -> None:
        """Raise an error in the main thread, also where it waits for Ray; from any thread."""
        self._pending = error
        self._interrupts += 1
        _thread.interrupt_main(signal.SIGTERM)

    def on_signal(self, _number: int, _frame: FrameType | None = None) -> None:
        """Handle SIGTERM. Python calls this in the main thread."""
        if self._interrupts:
            self._interrupts = 0
            error = self._pending
            self._pending = None
            if error is not None:
                self.interrupt(error)
            # The block that was to end has ended by itself.
            return
        now = time.monotonic()
        if self.asked and now - self._asked_at < ONE_REQUEST_SECONDS:
            return
        if self.asked or not self._guarded:
            leave(TERMINATED, TERMINATED_CODE)
        self.asked = True
        self._asked_at = now
        last_words.change(TERMINATED)
        # Everything is closed by then. To clear up the memory would take Python seconds.
        atexit.register(self._leave_at_exit)
        after(CLOSING_SECONDS, lambda: leave(TERMINATED, TERMINATED_CODE))
        self._end(Terminated())

    def _end(self, error: BaseException) -> None:
        """Raise an error: now, or once there is a checkpoint. A second one does not wait."""
        if self._ask is None or self._after_checkpoint is not None:
            self.interrupt(error)
        self._after_checkpoint = error
        after(CHECKPOINT_SECONDS, self.checkpoint_written)
        self._ask()

    def lose(self, error: BaseException) -> None:
        """Raise an error in the main thread, and end the process soon even if that has no effect.

        Without its cluster a call of Ray may wait for ever.

        Args:
            error: why the run cannot go on. Its message is shown.
        """
        self.abandoned = True
        # Comes before what Ray does at the end of the interpreter, which would wait for it.
        atexit.register(self._leave_at_exit)
        after(LOST_SECONDS, lambda: self._leave_lost(error))
        self.raise_in_main_thread(error)

    def _leave_lost(self, error: BaseException) -> None:
        if self.asked:
            leave(TERMINATED, TERMINATED_CODE)
        leave(f"error: {error}", 1)

    def _leave_at_exit(self) -> None:
        last_words.dismiss()
        sys.stdout.flush()
        os._exit(TERMINATED_CODE if self.asked else 1)


def after(seconds: float, action: Callable[[], None]) -> None:
    """Do something later, in a thread of its own, unless the process has ended by then."""
    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()


def leave(line: str, code: int) -> None:
    """Show a line, and end the process without waiting for anything in it."""
    last_words.dismiss()
    # Not `print`: this may interrupt a `print`.
    with suppress(OSError, ValueError):
        os.write(sys.stderr.fileno(), f"{one_line(line)}\n".encode())
    os._exit(code)


# The one of this process.
ending = Ending()
