"""Making a new sqlite database for MLflow: whole or not at all, by one process at a time."""

import os
import uuid
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from pipeline.config.places import SQLITE

# MLflow takes seconds to make its tables.
LOCK_SECONDS = 300


def artifact_root(path: str) -> str:
    """Return where the artifacts of a database's runs go: a folder beside it."""
    return (Path(path).parent / "mlartifacts").as_uri()


def make_database(path: str) -> None:
    """Make MLflow's tables in a new file. A database that exists stays as it is.

    MLflow itself makes them one after another in place. Then two processes that begin together
    fail at the tables of the other one, and a process that is killed leaves a part of them, with
    which MLflow cannot work. So one process makes them under another name, and the others wait.

    Raises:
        OSError: the file cannot be made.
    """
    # A link stays a link.
    path = os.path.realpath(path)
    if _exists(path):
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    lock = f"{path}.lock"
    with FileLock(lock, timeout=LOCK_SECONDS):
        # Another process may have made it while this one waited.
        if not _exists(path):
            _make(path)
        # Only a process that finds no database looks at the lock, and now there is one.
        with suppress(OSError):
            os.remove(lock)


def _exists(path: str) -> bool:
    """True if there is a file with content. Some programs make an empty one first."""
    try:
        return os.stat(path).st_size > 0
    except FileNotFoundError:
        return False


def _make(path: str) -> None:
    # Only a new database needs this, and it takes a second to import.
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    unfinished = f"{path}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        store = SqlAlchemyStore(SQLITE + unfinished, artifact_root(path))
        store.engine.dispose()
        os.replace(unfinished, path)
    finally:
        with suppress(OSError):
            os.remove(unfinished)
