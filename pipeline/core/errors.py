"""Errors that a user can act on.

The entry point prints such an error as one line and exits with its code.
"""


class UserError(Exception):
    """The run cannot go on (exit code 1).

    The message is one line. It names the file or the key, and says what to do.
    """

    exit_code = 1


class ConfigError(UserError):
    """The request itself is wrong, and nothing has been started (exit code 2)."""

    exit_code = 2


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, without the advice that libraries add below.

    Ray wraps the error of a task: the wrapper's message is a whole traceback, and the original
    error is its `cause`. The line comes from the original error.
    """
    cause = getattr(error, "cause", None)
    while isinstance(cause, BaseException):
        error = cause
        cause = getattr(error, "cause", None)
    for line in str(error).splitlines():
        if line.strip():
            return line.strip()
    return type(error).__name__
