"""The console of a process, without secrets: what Python itself and libraries print passes here.

Tracebacks, warnings and messages of loggers do not pass through `pipeline.core.console`. They are
written to `sys.stdout` and `sys.stderr`, so these two are replaced.
"""

import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from pipeline.core.secrets import redact


class RedactedStream:
    """A text stream that writes to another one, line by line, without secrets.

    Characters that the other stream cannot encode are written as escapes.

    Args:
        stream: where the text goes. Whatever else a stream can do, this one is asked for.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        # The beginning of a line, until its end comes: a secret may come in two pieces.
        self._begun = ""
        # Threads of libraries print, too. A signal may come while this thread prints.
        self._lock = threading.RLock()

    def write(self, text: str) -> int:
        """Write the lines that are complete, and keep the rest."""
        with self._lock:
            whole, end, self._begun = (self._begun + text).rpartition("\n")
            self._put(whole + end)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Write what is kept, too: a progress bar has no line ends."""
        with self._lock:
            begun = self._begun
            self._begun = ""
            self._put(begun)
            self._stream.flush()

    def _put(self, text: str) -> None:
        if not text:
            return
        shown = redact(text)
        try:
            self._stream.write(shown)
        except UnicodeEncodeError as error:
            bytes_ = shown.encode(error.encoding, "backslashreplace")
            self._stream.write(bytes_.decode(error.encoding))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def redacted(stream: TextIO) -> TextIO:
    """Return a stream that writes to `stream` without secrets (see `RedactedStream`)."""
    return cast(TextIO, RedactedStream(stream))


@contextmanager
def redacted_streams() -> Iterator[None]:
    """Let nothing that is printed within this context hold a secret.

    If the context ends with an error, the streams stay as they are: Python prints the traceback
    later.
    """
    stdout = sys.stdout
    stderr = sys.stderr
    sys.stdout = redacted(stdout)
    sys.stderr = redacted(stderr)
    try:
        yield
    except SystemExit:
        _restore(stdout, stderr)
        raise
    _restore(stdout, stderr)


def _restore(stdout: TextIO, stderr: TextIO) -> None:
    """Write what is left, and put the streams of the process back."""
    sys.stdout.flush()
    sys.stderr.flush()
    sys.stdout = stdout
    sys.stderr = stderr
