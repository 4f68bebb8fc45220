"""Looking for something in a tracking store that others wrote, before a run has begun."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.entities import LifecycleStage, Run

from pipeline.core.errors import ConfigError, UserError, first_line
from pipeline.runs.tracking.earlier import UNKNOWN
from pipeline.runs.tracking.store import Store, TrackingError

# A configuration has some thousand characters.
LARGEST_TEXT = 1_000_000


@contextmanager
def refusing() -> Iterator[None]:
    """Make errors of the store errors of the request: nothing was started yet."""
    try:
        yield
    except ConfigError:
        raise
    except UserError as error:
        raise ConfigError(str(error)) from error


def existing_run(store: Store, key: str, run_id: str) -> Run:
    """Return a run that was not deleted.

    Args:
        store: that holds it.
        key: the setting that names it.
        run_id: its id.

    Raises:
        ConfigError: there is none of this id, or it was deleted.
    """
    try:
        run: Run = store.ask(store.client.get_run, run_id)
    except TrackingError as error:
        if error.code not in UNKNOWN:
            raise
        raise ConfigError(f"{key}={run_id}: no run of this id in {store.uri}") from None
    if run.info.lifecycle_stage == LifecycleStage.DELETED:
        raise ConfigError(f"{key}={run_id}: deleted in {store.uri}; restore it, or name another")
    return run


def artifact_text(store: Store, run: Run, key: str, name: str) -> str:
    """Return a small text file of the artifacts of a run, whoever wrote it.

    Args:
        store: that holds the run.
        run: the run.
        key: the setting that names the run.
        name: of the file, in the top folder.

    Raises:
        ConfigError: there is none, it is too large or no text, or the artifacts cannot be read.
    """
    key = f"{key}={run.info.run_id}"
    place = run.info.artifact_uri
    try:
        entries = store.client.list_artifacts(run.info.run_id)
        sizes = {entry.path: entry.file_size or 0 for entry in entries}
        if name not in sizes:
            raise ConfigError(f"{key}: has no {name} in its artifacts ({place})")
        if sizes[name] > LARGEST_TEXT:
            raise ConfigError(f"{key}: its {name} is too large ({sizes[name]:,} bytes)")
        with tempfile.TemporaryDirectory() as scratch:
            path = store.client.download_artifacts(run.info.run_id, name, scratch)
            with open(path, "rb") as file:
                return file.read(LARGEST_TEXT).decode()
    except UnicodeDecodeError:
        raise ConfigError(f"{key}: its {name} is no text") from None
    except ConfigError:
        raise
    except Exception as error:
        # Artifacts may lie anywhere, and each kind of storage has errors of its own.
        raise ConfigError(f"{key}: {place} cannot be read ({first_line(error)})") from None
