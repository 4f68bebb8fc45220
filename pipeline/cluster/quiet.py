"""Moving Ray's own messages from the console into a log file."""

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.core import storage
from pipeline.core.console import say
from pipeline.core.errors import UserError

# The file that `log_stderr` writes, in the run's `logs/`.
RAY_LOG = "ray.log"


def set_ray_messages(quiet: bool) -> None:
    """Decide what Ray's Python side shows. Call it after `ray.init`.

    Args:
        quiet: turn off progress bars, and messages below errors. Otherwise Ray Data shows its plain
            progress bars, although the environment turns them off (`pipeline.core.environment`).
    """
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = not quiet
    context.enable_rich_progress_bars = False
    context.print_on_execution_start = False
    if not quiet:
        return
    for name in ("ray", "ray.data", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def log_stderr(folder: str) -> Iterator[None]:
    """Send what Ray's C++ side writes to stderr into a file in `folder`.

    The settings of Python's logging do not reach that side. Python's own `sys.stderr` stays the
    console, so the user still sees warnings and tracebacks.

        Python: print(..., file=sys.stderr) ----> console (a copy of file descriptor 2)
        C++:    write(2, ...)               ----> logs/ray.log

    Args:
        folder: the directory of the run's logs. The file is written at the end, and only if it is
            not empty. `folder` may be on object storage, so a local file comes first.
    """
    handle, name = tempfile.mkstemp(prefix="skelfuse-", suffix=".log")
    sys.stderr.flush()
    # Keep the console under another file descriptor, and put the local file in its place.
    console = os.dup(2)
    python_stderr = sys.stderr
    os.dup2(handle, 2)
    os.close(handle)
    # This copy is never closed: loggers that are made meanwhile keep it until the process ends.
    sys.stderr = os.fdopen(os.dup(console), "w", buffering=1, errors="backslashreplace")
    try:
        yield
    finally:
        sys.stderr = python_stderr
        os.dup2(console, 2)
        os.close(console)
        _keep(Path(name), storage.join(folder, RAY_LOG))


def _keep(written: Path, location: str) -> None:
    """Move what was written to its place. A storage that is away hides no earlier error."""
    try:
        _append(location, written.read_bytes())
    except UserError as error:
        say(f"  {error}; what Ray wrote stays in {written}")
    else:
        written.unlink()


def _append(location: str, data: bytes) -> None:
    """Add to a log file. An earlier attempt of the run may have written one already."""
    if not data:
        return
    if storage.exists(location):
        data = storage.read_bytes(location) + data
    storage.write_bytes(location, data)
