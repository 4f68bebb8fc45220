"""The last line of a process that is ended in the middle of something.

Ray's C++ side ends the process of a run, without a word and past all of Python, when it loses its
node or its shared memory. So a shell waits for the end of this process, and shows the line that it
was given last. It also speaks for a process that was killed.
"""

import subprocess
import sys
from contextlib import suppress

# It reads lines. An empty one dismisses it; at the end of the pipe it shows the last one.
WAITING_SHELL = """\
trap '' TERM INT HUP
while IFS= read -r line; do
  [ -n "$line" ] || exit 0
  last=$line
done
printf '%s\\n' "$last" >&2
"""


class LastWords:
    """Says a line if this process ends before `dismiss` was called."""

    def __init__(self) -> None:
        self._shell: subprocess.Popen[bytes] | None = None

    def prepare(self, line: str) -> None:
        """Start the shell, with the line that it shows. Without a shell nothing is shown."""
        with suppress(OSError, ValueError):
            self._shell = subprocess.Popen(
                ["/bin/sh", "-c", WAITING_SHELL],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=sys.stderr.fileno(),
            )
        self.change(line)

    def change(self, line: str) -> None:
        """Show another line instead, if one was prepared."""
        self._send(line)

    def dismiss(self) -> None:
        """Show nothing: the process says itself how it ends."""
        self._send("")
        shell = self._shell
        self._shell = None
        if shell is not None:
            with suppress(OSError, subprocess.TimeoutExpired):
                assert shell.stdin is not None
                shell.stdin.close()
                shell.wait(1)

    def _send(self, line: str) -> None:
        if self._shell is None or self._shell.stdin is None:
            return
        with suppress(OSError, ValueError):
            self._shell.stdin.write(f"{line}\n".encode())
            self._shell.stdin.flush()


# The one of this process.
last_words = LastWords()
