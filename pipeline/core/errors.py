"""Errors that a user can act on. The entry point prints each as one line and exits with its code."""


class UserError(Exception):
    """The run cannot go on; the message is one line that names the file or key and what to do (exit code 1)."""

    exit_code = 1


class ConfigError(UserError):
    """The request itself is wrong: nothing has been started (exit code 2)."""

    exit_code = 2


def first_line(error: BaseException) -> str:
    """What went wrong, in one line: without advice, and for an error of a Ray task without the traceback after it."""
    while isinstance(cause := getattr(error, "cause", None), BaseException):
        error = cause
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].strip() if lines else type(error).__name__
