"""Errors that a user can act on.

The entry point prints each as one line and exits with its code.
"""


class UserError(Exception):
    """The run cannot go on (exit code 1).

    The message is one line that names the file or key, and what to do.
    """

    exit_code = 1


class ConfigError(UserError):
    """The request itself is wrong: nothing has been started (exit code 2)."""

    exit_code = 2


def first_line(error: BaseException) -> str:
    """Return what went wrong in one line, without the advice that libraries add.

    The error of a Ray task carries the original one as its `cause`, and a whole traceback as its
    message: it is the original one that is wanted.
    """
    cause = getattr(error, "cause", None)
    while isinstance(cause, BaseException):
        error = cause
        cause = getattr(error, "cause", None)
    for line in str(error).splitlines():
        if line.strip():
            return line.strip()
    return type(error).__name__
