"""Object storage in memory, whose every operation waits for its turn.

An interleaving of several threads is then a list of numbers, which a test chooses.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.core import storage
from pipeline.core.errors import UserError


class ObjectStore:
    """Objects appear whole or not at all, and a listing shows every object: no more is promised."""

    def __init__(
        self,
        before_each: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.objects: dict[str, str] = {}
        self.written: dict[str, float] = {}
        self.before_each = before_each
        self.clock = clock

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Let it take the place of all storage."""
        with pytest.MonkeyPatch.context() as patch:
            for name in ("write_json", "read_bytes", "exists", "info", "files", "delete"):
                patch.setattr(storage, name, getattr(self, name))
            yield

    def write_json(self, uri: str, value: Any) -> None:
        self.before_each()
        self.objects[uri] = json.dumps(value)
        self.written[uri] = self.clock()

    def read_bytes(self, uri: str) -> bytes:
        self.before_each()
        if uri not in self.objects:
            raise UserError(f"{uri}: not found")
        return self.objects[uri].encode()

    def exists(self, uri: str) -> bool:
        self.before_each()
        return uri in self.objects

    def info(self, uri: str) -> SimpleNamespace:
        self.before_each()
        there = uri in self.objects
        written = int(self.written[uri] * 1e9) if there else None
        return SimpleNamespace(is_file=there, mtime_ns=written)

    def files(self, uri: str) -> list[SimpleNamespace]:
        self.before_each()
        names = [name.rpartition("/")[2] for name in self.objects if name.startswith(f"{uri}/")]
        return [SimpleNamespace(base_name=name) for name in sorted(names)]

    def delete(self, uris: list[str]) -> None:
        self.before_each()
        for uri in uris:
            self.objects.pop(uri, None)


class Turns:
    """Threads that take turns: one at a time runs, until its next operation."""

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self._waiting: set[str] = set()
        self._running: set[str] = set()
        self._chosen: str | None = None

    def wait(self) -> None:
        """Wait for this thread's next turn; threads that take none pass."""
        me = threading.current_thread().name
        with self._turn:
            if me not in self._running:
                return
            self._running.discard(me)
            self._waiting.add(me)
            self._turn.notify_all()
            self._turn.wait_for(lambda: self._chosen == me)
            self._chosen = None
            self._waiting.discard(me)
            self._running.add(me)

    def run(self, tasks: dict[str, Callable[[], None]], order: Iterator[int]) -> None:
        """Run tasks to their ends; the numbers of `order` say which waiting one goes on."""
        threads = []
        self._running = set(tasks)
        for name, task in tasks.items():
            threads.append(threading.Thread(target=self._do, args=(task,), name=name, daemon=True))
        for thread in threads:
            thread.start()
        while True:
            with self._turn:
                assert self._turn.wait_for(lambda: not self._running, timeout=20)
                if not self._waiting:
                    break
                waiting = sorted(self._waiting)
                self._chosen = waiting[next(order, 0) % len(waiting)]
                self._running.add(self._chosen)
                self._turn.notify_all()
        for thread in threads:
            thread.join()

    def _do(self, task: Callable[[], None]) -> None:
        try:
            self.wait()
            task()
        finally:
            with self._turn:
                self._running.discard(threading.current_thread().name)
                self._turn.notify_all()
