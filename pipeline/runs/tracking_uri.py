"""Where a run is tracked, as far as this can be known without MLflow."""

import os
import shlex
from urllib.parse import unquote

from pipeline.config.places import SQLITE, database
from pipeline.core import storage
from pipeline.core.errors import ConfigError

# What every sqlite database begins with.
HEADER = b"SQLite format 3\x00"


def remembered(uri: str, output: str) -> str:
    """Return a tracking store as `run.json` keeps it: a database in the output without its path.

    So a directory that is moved takes its database with it.

    Example: `sqlite:////runs/a/mlflow.db` of the output `/runs/a` becomes `sqlite:///mlflow.db`.
    """
    prefix = f"{SQLITE}{output.rstrip('/')}/"
    if uri.startswith(prefix):
        return SQLITE + uri.removeprefix(prefix)
    return uri


def located(uri: str, output: str) -> str:
    """Return a tracking store that `run.json` keeps as one that can be opened.

    Args:
        uri: what `remembered` returned.
        output: the output directory, where it is now.
    """
    path = database(uri)
    if path is None or path.startswith("/"):
        return uri
    return SQLITE + storage.join(output, path)


def require_database(uri: str) -> None:
    """Check that MLflow can open a sqlite database, which need not exist.

    Raises:
        ConfigError: something else is there, or MLflow would open another path.
    """
    path = database(uri)
    if path is None:
        return
    # MLflow takes what follows a question mark for options, and %41 for the letter A.
    if "?" in path or unquote(path) != path:
        raise ConfigError(
            f"tracking.uri={uri}: MLflow opens no database with ? or %41 in its path; "
            f"choose another, such as tracking.uri={SQLITE}/home/me/mlflow.db"
        )
    if os.path.isdir(path):
        raise ConfigError(f"tracking.uri={uri}: a directory; give the path of a file in it")
    if not os.path.exists(path):
        return
    if not os.path.isfile(path):
        raise ConfigError(f"tracking.uri={uri}: not a file")
    try:
        with open(path, "rb") as file:
            start = file.read(len(HEADER))
    except OSError as error:
        raise ConfigError(f"tracking.uri={uri}: cannot be read ({error.strerror})") from None
    # An empty file is one that nobody has written to yet.
    if start and start != HEADER:
        raise ConfigError(
            f"tracking.uri={uri}: not a sqlite database; move it away and it is made anew, or "
            "give the path of another"
        )


def page_command(uri: str) -> str:
    """Return how to look at a tracking store: the address of a server, or the command of one."""
    # A database has no pages of its own.
    if database(uri) is None:
        return uri
    return f"mlflow ui --backend-store-uri {shlex.quote(uri)}"
