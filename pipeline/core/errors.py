"""Errors that a user can act on, and the one line that is shown of any other error.

The entry point prints such an error as one line and exits with its code.
"""

import errno
import re
from collections.abc import Iterator
from typing import Any


class UserError(Exception):
    """The run cannot go on (exit code 1).

    The message is one line. It names the file or the key, and says what to do.
    """

    exit_code = 1


class ConfigError(UserError):
    """The request itself is wrong, and nothing has been started (exit code 2)."""

    exit_code = 2


# Where wrappers keep the error that they wrap: those of Ray's tasks, of Ray Train's controller, its
# health checks and its workers, and of Ray's own system.
WRAPPED = ("cause", "controller_failure", "health_check_failure", "_base_exc", "client_exc")
# A longer line is cut.
LONGEST = 1000

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
# What libraries that lose the number of the error write: Arrow, SQLite.
FULL_DISK_TEXTS = ("No space left on device", "database or disk is full", "Disk quota exceeded")
NO_SPACE = "no space left on the disk; make room, then the same command goes on"

TRACEBACK = "Traceback (most recent call last)"
# A frame of a traceback, such as `  File "x.py", line 3, in f`.
_FRAME = re.compile(r'\s*File ".*", line \d+')
# The type at the beginning of a traceback's last line, such as `ray.exceptions.RayError: `.
_TYPE = re.compile(r"[\w.]*[A-Z]\w*(\([\w.]+\))?: ")
# The last character of a line that only opens what follows.
_OPENING = (":", "<", "(", "[", "{")


def first_line(error: BaseException) -> str:
    """Return one line that says what went wrong: the message of the deepest cause.

    It is never empty, and neither a title that ends in a colon nor the beginning of a traceback:

        ControllerError("Training failed due to controller error:")      a title
          RayTaskError("ray::f() ... Traceback (most recent call last) ...")
            OSError("[Errno 13] Permission denied: '/data'")             what is returned
    """
    if is_full_disk(error):
        return NO_SPACE
    deepest = list(causes(error))[-1]
    line = (_first_problem(deepest) or _line(str(deepest)))[:LONGEST].strip().rstrip(": ")
    if isinstance(deepest, KeyError) or not line:
        # The message of a KeyError is the key alone.
        line = f"{type(deepest).__name__} {line}".strip()
    return line


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, the error that it wraps, and so on to the deepest one."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = _wrapped(current)


def is_full_disk(error: BaseException) -> bool:
    """True if an error, or one that it wraps or was raised from, is that of a full disk."""
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        current = pending.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        if getattr(current, "errno", None) in FULL_DISK:
            return True
        if any(text in str(current) for text in FULL_DISK_TEXTS):
            return True
        pending += [_wrapped(current), current.__cause__]
    return False


def _wrapped(error: BaseException) -> BaseException | None:
    """Return the error that says more than this one, None if this one says it itself."""
    for name in WRAPPED:
        inner = getattr(error, name, None)
        if isinstance(inner, BaseException):
            return inner
    # Ray Train's errors of workers, by rank.
    failures = getattr(error, "worker_failures", None)
    if isinstance(failures, dict) and failures:
        return failures[min(failures)]
    if isinstance(error, BaseExceptionGroup):
        return error.exceptions[0]
    # The message of most errors tells more about what was done than that of their cause. Ray's
    # errors, and those whose message is only a title, do not.
    is_rays = type(error).__module__.split(".")[0] == "ray"
    says_nothing = not any(_statements(str(error)))
    if not is_rays and not says_nothing:
        return None
    if error.__cause__ is not None:
        return error.__cause__
    if says_nothing and not error.__suppress_context__:
        return error.__context__
    return None


def _first_problem(error: BaseException) -> str:
    """Return the first problem of an error of pydantic, whose message begins with a count."""
    problems: Any = getattr(error, "errors", None)
    if type(error).__name__ != "ValidationError" or not callable(problems):
        return ""
    first = problems()[0]
    key = ".".join(str(part) for part in first["loc"])
    message = _line(first["msg"].removeprefix("Value error, "))
    if key and message:
        return f"{key}: {message}"
    return message


def _line(text: str) -> str:
    """Return the line of a message that says the most, with its title; empty if none says much."""
    text = _after_traceback(text)
    statements = list(_statements(text))
    lines = []
    for line in text.splitlines():
        words = " ".join(line.split())
        if words.strip(": ") and not _is_of_traceback(words):
            lines.append(words)
    if not statements:
        # Only titles and brackets.
        return " ".join(lines)
    statement = " ".join(statements[0].split())
    if lines[0] != statement and lines[0].endswith(":"):
        return f"{lines[0]} {statement}"
    return statement


def _is_of_traceback(line: str) -> bool:
    return TRACEBACK in line or _FRAME.match(line) is not None


def _statements(text: str) -> Iterator[str]:
    """Yield the lines of a message that say something: lines at the margin before indented ones.

    Unable to set up storage with the settings:   opens what follows
    StorageContext<                               opens what follows
      storage_filesystem='local',                 indented
    >                                             has no word
    Check that all nodes have access to it.       the first statement
    """
    kept = []
    for line in text.splitlines():
        bare = line.strip()
        has_word = any(character.isalnum() for character in bare)
        if has_word and not bare.endswith(_OPENING) and not _is_of_traceback(line):
            kept.append(line.rstrip())
    yield from [line for line in kept if not line[0].isspace()]
    yield from [line for line in kept if line[0].isspace()]


def _after_traceback(text: str) -> str:
    """Return what follows the last frame of a traceback in a text; any other text as it is.

    ray::f() (pid=7)
      File "x.py", line 3, in f
        raise ValueError("no such clip")
    ValueError: no such clip              ->  no such clip
    """
    lines = text.splitlines()
    frames = [number for number, line in enumerate(lines) if _FRAME.match(line)]
    if not frames:
        return text
    rest = lines[frames[-1] + 1 :]
    # The code of the frame, and the marks below it.
    while rest and (not rest[0].strip() or rest[0][0].isspace()):
        del rest[0]
    if not rest:
        return text
    without_type = _TYPE.sub("", rest[0], count=1) if _TYPE.match(rest[0]) else rest[0]
    return "\n".join([without_type, *rest[1:]])
