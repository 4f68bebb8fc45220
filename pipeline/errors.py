"""Errors that a user can act on. The entry point prints each as one line and exits with its code."""


class UserError(Exception):
    """The run cannot go on; the message is one line that names the file or key and what to do (exit code 1)."""

    exit_code = 1


class ConfigError(UserError):
    """The request itself is wrong: nothing has been started (exit code 2)."""

    exit_code = 2
