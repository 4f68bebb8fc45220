"""Moving Ray's own messages from the console into a log file."""

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.core import storage
from pipeline.core.console import say
from pipeline.core.errors import UserError
from pipeline.core.redacted_streams import redacted
from pipeline.core.secrets import redact

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
        folder: the directory of the run's logs. A local file there is written at once, so that it
            is there whatever becomes of this process. To object storage it is copied at the end.
            An empty file is not kept.
    """
    handle, written = _open(folder)
    sys.stderr.flush()
    # Keep the console under another file descriptor, and put the file in its place.
    console = os.dup(2)
    python_stderr = sys.stderr
    os.dup2(handle, 2)
    os.close(handle)
    # This copy is never closed: loggers that are made meanwhile keep it until the process ends.
    sys.stderr = redacted(os.fdopen(os.dup(console), "w", buffering=1, errors="backslashreplace"))
    try:
        yield
    finally:
        sys.stderr = python_stderr
        os.dup2(console, 2)
        os.close(console)
        _keep(written, storage.join(folder, RAY_LOG))


def _open(folder: str) -> tuple[int, Path]:
    """Open the log of a local folder, or a temporary file for one elsewhere."""
    if not storage.is_remote(folder):
        path = Path(storage.absolute(folder), RAY_LOG)
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666), path
    handle, name = tempfile.mkstemp(prefix="skelfuse-", suffix=".log")
    return handle, Path(name)


def _keep(written: Path, location: str) -> None:
    """Move what was written to its place. A storage that is away hides no earlier error."""
    with suppress(OSError):
        _redact(written)
    if written.name == RAY_LOG:
        # It is there already.
        with suppress(OSError):
            if not written.stat().st_size:
                written.unlink()
                written.parent.rmdir()
        return
    try:
        _append(location, written.read_bytes())
    except UserError as error:
        say(f"  {error}; what Ray wrote stays in {written}")
    else:
        written.unlink()


def _redact(written: Path) -> None:
    """Take secrets out of a log. Only now, because Ray itself writes to the file."""
    text = written.read_bytes().decode(errors="surrogateescape")
    shown = redact(text)
    if shown != text:
        written.write_bytes(shown.encode(errors="surrogateescape"))


def _append(location: str, data: bytes) -> None:
    """Add to a log file. An earlier attempt of the run may have written one already."""
    if not data:
        return
    if storage.exists(location):
        data = storage.read_bytes(location) + data
    storage.write_bytes(location, data)
