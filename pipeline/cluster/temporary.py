"""The directory for the temporary files of a Ray that is started for a run.

Ray keeps sockets there, and the path of a socket has 107 bytes at most on Linux. The temporary
directory of a scheduler's job is often too long, or cannot be written.
"""

import os
from collections.abc import Callable

from pipeline.core import storage
from pipeline.core.errors import ConfigError

# Ray looks for its directory here, in this order.
VARIABLES = ("RAY_TMPDIR", "TMPDIR")
DEFAULT = "/tmp"
# Other short directories that most machines have.
OTHERS = (DEFAULT, "/var/tmp", "/dev/shm")
# What Ray adds: /ray/session_2026-11-27_18-19-23_123456_1234567/sockets/plasma_store.1
LONGEST = 107 - 70


def settle_ray_directory(say: Callable[[str], None]) -> None:
    """Make sure that Ray can use its temporary directory, or give it another one.

    Args:
        say: shows a line on the console.

    Raises:
        ConfigError: there is no directory that it can use.
    """
    wanted = _wanted()
    problem = _problem(wanted)
    if problem is None:
        return
    for directory in OTHERS:
        if _problem(directory) is None:
            os.environ[VARIABLES[0]] = directory
            say(f"  {wanted} {problem}: Ray's temporary files go to {directory}")
            return
    raise ConfigError(
        f"{VARIABLES[0]}={wanted}: {problem}, and neither {', '.join(OTHERS)} can be used; "
        f"name a directory of at most {LONGEST} bytes that can be written"
    )


def _wanted() -> str:
    """Return the directory that Ray would take."""
    for name in VARIABLES:
        # Ray takes an empty value as it is, too, which is the working directory.
        if name in os.environ:
            return os.environ[name]
    return DEFAULT


def _problem(directory: str) -> str | None:
    """Return why Ray cannot use a directory, None if it can."""
    if not os.path.isabs(directory):
        return "is not an absolute path"
    if len(os.fsencode(directory)) > LONGEST:
        return "is too long for Ray's sockets"
    # Ray makes this folder for all users. Somebody else's may be closed to this one.
    for folder in (os.path.join(directory, "ray"), directory):
        if os.path.exists(folder):
            problem = storage.write_problem(folder)
            return None if problem is None else f"cannot be written ({problem})"
    return "does not exist"
