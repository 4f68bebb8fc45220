"""One process an output: the owner of an output directory, from before the first write to the end.

Two runs in one directory would delete each other's checkpoints. So a run takes the directory before
it writes anything: `owner.json` names it (`owner_record`, `election`). A thread renews the
heartbeat of this record. If somebody else has taken the directory over meanwhile, for example
because this machine slept for an hour, the run stops instead of writing on.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from pipeline.core import storage
from pipeline.core.console import say
from pipeline.core.errors import UserError
from pipeline.core.termination import ending
from pipeline.runs.election import elect, refusal
from pipeline.runs.files import OWNER
from pipeline.runs.owner_record import OwnerRecord, Sighting, own_record, read_sighting

# How often the thread looks at the clock. A machine that wakes up finds out within this time.
LOOK_SECONDS = 1.0


class Ownership:
    """The output directory while this process owns it.

    Use it as a context manager: at the end of the block the record is deleted.

    Args:
        output: the directory.
        record: the record in it, which `take` has written.
        interrupts: whether losing the directory interrupts the main thread. A sweep owns the
            directories of many trials at once, and looks at `lost` itself.

    Attributes:
        lost: why the directory is no longer this process's, None while it is.
    """

    def __init__(self, output: str, record: OwnerRecord, interrupts: bool = True) -> None:
        self.output = output
        self.record = record
        self.lost: str | None = None
        self._uri = storage.join(output, OWNER)
        # One thread at a time looks at the record and acts on what it found.
        self._lock = threading.Lock()
        self._is_moving = False
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="owner heartbeat")
        # Only the main thread can be interrupted, and only there handlers can be set.
        in_main_thread = threading.current_thread() is threading.main_thread()
        self._in_main_thread = interrupts and in_main_thread
        self._on_interrupt: Callable[..., object] | int | None = None

    @property
    def attempt(self) -> str:
        """The name of this attempt to run. No other attempt has it."""
        return self.record.attempt

    def __enter__(self) -> "Ownership":
        if self._in_main_thread:
            self._on_interrupt = signal.getsignal(signal.SIGINT)
            signal.signal(signal.SIGINT, self._interrupted)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Let the directory go.

        Raises:
            UserError: somebody else has it.
        """
        self._ending.set()
        self._thread.join()
        if self._in_main_thread:
            signal.signal(signal.SIGINT, self._on_interrupt)
        # Whatever was raised meanwhile follows from it.
        self.require()
        with suppress(UserError, OSError):
            if self._is_ours(read_sighting(self._uri)):
                storage.delete([self._uri])

    def require(self) -> None:
        """Check that the directory was still this process's at the last heartbeat.

        Raises:
            UserError: somebody else has it.
        """
        if self.lost is not None:
            raise UserError(self.lost)

    def verify(self) -> None:
        """Check that the directory is this process's at this moment.

        Raises:
            UserError: somebody else has it, or the storage does not answer.
        """
        with self._lock:
            self._renew()
        self.require()

    @contextmanager
    def moving(self) -> Iterator[None]:
        """Take the directory anew after the block, which moves it away with the record in it.

        Raises:
            ConfigError: another process took it in that moment.
        """
        # Object storage copies, which may take minutes: meanwhile the heart must beat. For a moment
        # there is no record, and that is no loss.
        self._is_moving = True
        try:
            yield
            with self._lock:
                if not self._is_ours(read_sighting(self._uri)):
                    elect(self.output, self.record)
        finally:
            self._is_moving = False

    def _beat(self) -> None:
        """Renew the heartbeat until the end, or until the directory is lost."""
        renewed = time.time()
        while not self._ending.wait(LOOK_SECONDS):
            # The time of day, which goes on while the machine sleeps.
            if abs(time.time() - renewed) < self.record.heartbeat_seconds:
                continue
            # A storage that is away for a while is not a reason to stop.
            with suppress(UserError, OSError), self._lock:
                self._renew()
                renewed = time.time()
            if self.lost is not None:
                break
        if self.lost is not None and self._in_main_thread and not self._ending.is_set():
            # It may be waiting for hours of training: the signal wakes it.
            main = threading.main_thread().ident
            assert main is not None
            signal.pthread_kill(main, signal.SIGINT)

    def _renew(self) -> None:
        """Renew the heartbeat of the record, or note that it is no longer there.

        Raises:
            UserError: the storage does not answer.
        """
        found = read_sighting(self._uri)
        if found is None and self._is_moving:
            return
        if not self._is_ours(found):
            self.lost = self._why_lost(found)
        elif storage.is_remote(self._uri):
            storage.write_json(self._uri, self.record.model_dump())
        else:
            # Harmless if another process replaces the record at this very moment. Without times
            # the file system takes its own, which is the server's on a network.
            _, path = storage.resolve(self._uri)
            os.utime(path)

    def _is_ours(self, found: Sighting | None) -> bool:
        return found is not None and found.record.attempt == self.attempt

    def _why_lost(self, found: Sighting | None) -> str:
        if found is None:
            return f"{self._uri}: deleted while this run was at work; it has stopped"
        return (
            f"output={self.output}: {found.record} has taken it over, because this run gave no "
            f"sign of life for more than {self.record.patience_seconds:.0f} s; it has stopped"
        )

    def _interrupted(self, number: int, frame: object) -> None:
        """Handle Ctrl-C as before, and the signal of `_beat` by stopping with the reason."""
        if self.lost is not None:
            ending.interrupt(UserError(self.lost))
        if callable(self._on_interrupt):
            self._on_interrupt(number, frame)


def take(output: str, interrupts: bool = True) -> Ownership:
    """Become the owner of an output directory, which is created if it does not exist.

    Args:
        output: the directory.
        interrupts: see `Ownership`.

    Raises:
        ConfigError: another process owns it, or begins at the same moment.
        UserError: the storage cannot be written.
    """
    record = own_record()
    dead = elect(output, record)
    if dead is not None:
        age = dead.age(time.time())
        say(f"output: taken over from {dead.record}, which ended early ({age} ago)")
    return Ownership(output, record, interrupts)


def refuse_owned(output: str, fresh: bool) -> None:
    """Check that no other process works on an output directory. This writes nothing.

    Args:
        output: the directory.
        fresh: whether it is going to be moved aside. Then runs anywhere below it count, too, such
            as the trials of a sweep.

    Raises:
        ConfigError: another process does; the message names it.
    """
    directories = [output]
    if fresh:
        directories += _owned_below(output)
    now = time.time()
    for directory in directories:
        owner = read_sighting(storage.join(directory, OWNER))
        if owner is not None and not owner.is_over(now):
            raise refusal(directory, owner, now)


def _owned_below(output: str) -> list[str]:
    """Return the directories in a directory that have an owner record."""
    _, top = storage.resolve(output)
    found = []
    for file in storage.files(output, recursive=True):
        folder = file.path.removeprefix(top).removesuffix(OWNER).strip("/")
        if file.base_name == OWNER and folder:
            found.append(storage.join(output, folder))
    return found
