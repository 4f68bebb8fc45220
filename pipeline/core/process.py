"""Naming a process so that it can be recognised later, and telling whether it has ended.

The number of a process alone does not name it: after it ended, another one gets the same number,
and every container counts from 1. So its start time belongs to it, and what the numbers count in.
"""

import os
import socket
import uuid
from pathlib import Path

PROC = Path("/proc")
# The states of a process that has ended, though it still has a number: zombie and dead.
ENDED = ("Z", "X", "x")
# Where these fields stand behind the name of the process in `/proc/PID/stat`.
STATE = 0
START_TIME = 19


def host() -> str:
    """Return the name of this machine."""
    return socket.gethostname()


def numbering() -> str:
    """Return what the numbers of processes count in: this machine since it started, or a container.

    Two processes with the same numbering see the same processes under the same numbers.
    """
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink(PROC / "self/ns/pid")
    except OSError:
        # Not Linux.
        return f"{host()} {uuid.getnode():x}"
    return f"{host()} {boot} {namespace}"


def start_time(pid: int) -> str | None:
    """Return when a process started, in the units of its system; None if nobody can tell."""
    fields = _status(pid)
    if fields is None:
        return None
    return fields[START_TIME]


def has_ended(pid: int, started: str | None) -> bool | None:
    """Tell whether a process of this numbering has ended; None if nobody can tell.

    Args:
        pid: its number.
        started: its `start_time`.
    """
    try:
        # Signal 0 only asks whether there is such a process.
        os.kill(pid, 0)
    except PermissionError:
        # There is one, of another user.
        pass
    except (ProcessLookupError, OverflowError):
        return True
    fields = _status(pid)
    if fields is None or started is None:
        return None
    return fields[STATE] in ENDED or fields[START_TIME] != started


def _status(pid: int) -> list[str] | None:
    """Return the fields that Linux shows of a process, after its name; None without them."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    # The name stands in brackets, and may hold blanks and brackets itself.
    return text.rpartition(")")[2].split()
