"""Keeping what Ray says off the console: into a log file, not into nothing."""

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.core import storage

# The file that `log_stderr` writes, in the run's `logs/`.
RAY_LOG = "ray.log"


def quieten_ray() -> None:
    """Silence progress bars and messages below errors. Call this after Ray has started."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.enable_rich_progress_bars = False
    context.print_on_execution_start = False
    for name in ("ray", "ray.data", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def log_stderr(folder: str) -> Iterator[None]:
    """Send what Ray's C++ side writes to stderr into `folder`, where logging cannot reach it.

    Python's own `sys.stderr` stays the console: warnings and tracebacks are seen as ever.

        Python: print(..., file=sys.stderr) ----> console (a copy of file descriptor 2)
        C++:    write(2, ...)               ----> logs/ray.log

    Args:
        folder: the directory of the run's logs. It gets the file at the end, if anything was
            written.
    """
    handle, name = tempfile.mkstemp(prefix="skelfuse-", suffix=".log")
    sys.stderr.flush()
    console = os.dup(2)
    python_stderr = sys.stderr
    os.dup2(handle, 2)
    os.close(handle)
    # It is never closed: loggers that were made meanwhile hold it to the end of the process.
    sys.stderr = os.fdopen(os.dup(console), "w", buffering=1, errors="backslashreplace")
    try:
        yield
    finally:
        sys.stderr = python_stderr
        os.dup2(console, 2)
        os.close(console)
        written = Path(name)
        _append(storage.join(folder, RAY_LOG), written.read_bytes())
        written.unlink()


def _append(location: str, data: bytes) -> None:
    """Add to a log file; an attempt before may have left one."""
    if not data:
        return
    if storage.exists(location):
        data = storage.read_bytes(location) + data
    storage.write_bytes(location, data)
