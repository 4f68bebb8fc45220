"""What lies at the places of a request: found out before anything is made or started.

A place may be of the wrong kind (a pipe, a device, a file instead of a directory), out of reach, or
not writable.
"""

import os
from importlib.metadata import EntryPoints, entry_points
from pathlib import Path

from pyarrow import fs

from pipeline.config.places import (
    SQLITE,
    database,
    named_files,
    pooled_stores,
    recordings,
    require_scheme,
    stores,
)
from pipeline.config.root import Config
from pipeline.config.section import PATH_MAX
from pipeline.core import storage
from pipeline.core.errors import ConfigError, UserError
from pipeline.runs.directory import has_store

# The schemes that MLflow knows. A database may name its driver: `postgresql+psycopg2`.
TRACKING_SCHEMES = ("http", "https", "file", "databricks", "databricks-uc")
TRACKING_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
# sqlite opens no longer path, in bytes, and adds an ending to it for its journal.
LONGEST_DATABASE = 500
# What a run adds to the path of its output, at most, in bytes.
BELOW_OUTPUT = 300


def require_usable(config: Config) -> None:
    """Check the kind of everything that the places of a request name.

    Args:
        config: the configuration, with absolute paths.

    Raises:
        ConfigError: a place has an unknown scheme, or something of the wrong kind lies there.
    """
    _require_tracking_scheme(config.tracking.uri or "")
    _require_output(config.output)
    for key, raw in recordings(config.data):
        _require_kind(key, raw, (fs.FileType.File, fs.FileType.Directory))
    for key, store in stores(config.data):
        _require_kind(key, store, (fs.FileType.Directory,))
    for key, file in named_files(config):
        _require_kind(key, file, (fs.FileType.File,))


def require_pooled_stores(config: Config) -> None:
    """Check that all stores of `data.pool` are there.

    Raises:
        ConfigError: one is not.
    """
    for key, store in pooled_stores(config.data):
        if not has_store(store):
            raise ConfigError(f"{key}={store}: no whole clip store there")


def require_writable(config: Config, writes_store: bool) -> None:
    """Check that a run can write its output, its store and its tracking database.

    Only local places are checked.

    Args:
        config: the configuration, with absolute paths.
        writes_store: whether the run makes a clip store.

    Raises:
        ConfigError: it cannot write there.
    """
    places = {"output": config.output}
    if writes_store and config.data.store is not None:
        places["data.store"] = config.data.store
    path = _database(config)
    if path is not None:
        places["tracking.uri"] = os.path.dirname(path)
        if os.path.exists(path) and not os.access(path, os.W_OK):
            raise ConfigError(f"tracking.uri={config.tracking.uri}: the file cannot be written")
    for key, place in places.items():
        if not storage.is_remote(place):
            _require_writable_directory(key, place)
    if config.fresh and not storage.is_remote(config.output) and os.path.exists(config.output):
        _require_writable_directory("output", os.path.dirname(os.path.realpath(config.output)))


def _require_tracking_scheme(uri: str) -> None:
    scheme, mark, _ = uri.partition(":")
    known = {*TRACKING_SCHEMES, *(entry.name for entry in _plugins())}
    is_known = scheme in known or scheme.partition("+")[0] in TRACKING_DATABASES
    if not is_known or (not mark and scheme != "databricks"):
        raise ConfigError(
            f"tracking.uri={uri}: not a tracking store; give sqlite:///PATH or the address of an "
            "MLflow server (http://HOST:PORT)"
        )
    if scheme == "sqlite" and (
        not uri.startswith(SQLITE) or os.path.basename(uri) in ("", ":memory:")
    ):
        raise ConfigError(f"tracking.uri={uri}: names no file; give sqlite:///PATH")


def _plugins() -> EntryPoints:
    """Return the further tracking stores that are installed."""
    return entry_points(group="mlflow.tracking_store")


def _require_kind(key: str, place: str, kinds: tuple[fs.FileType, ...]) -> None:
    """Raise ConfigError if something of another kind lies at a place. Nothing may lie there."""
    kind = _kind(key, place)
    if kind == fs.FileType.NotFound or kind in kinds:
        return
    expected = " or ".join(_NAMES[allowed] for allowed in kinds)
    raise ConfigError(f"{key}={place}: {_NAMES[kind]}; it must be {expected}")


_NAMES = {
    fs.FileType.File: "a file",
    fs.FileType.Directory: "a directory",
    fs.FileType.Unknown: "a pipe, a device or a socket",
}


def _kind(key: str, place: str) -> fs.FileType:
    """Return the type of what lies at a place.

    Raises:
        ConfigError: the place cannot be looked at.
    """
    require_scheme(key, place)
    try:
        return storage.info(place).type
    except UserError as error:
        raise ConfigError(f"{key}={error}") from error


def _require_output(output: str) -> None:
    """Raise ConfigError if no directory is or can be at the place."""
    _require_kind("output", output, (fs.FileType.Directory,))
    if storage.is_remote(output):
        return
    if len(output.encode()) > PATH_MAX - BELOW_OUTPUT:
        raise ConfigError(f"output={output}: too long a path; choose a shorter one")
    parent = _nearest(output)
    if not parent.is_dir():
        raise ConfigError(f"output={output}: {parent} is not a directory")


def _nearest(path: str) -> Path:
    """Return the nearest of a path and the directories above it that exists."""
    nearest = Path(path)
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    return nearest


def _require_writable_directory(key: str, place: str) -> None:
    problem = storage.write_problem(str(_nearest(place)))
    if problem is not None:
        raise ConfigError(f"{key}={place}: cannot be written ({problem}); choose another")


def _database(config: Config) -> str | None:
    """Return the path of the tracking database, None if there is none.

    Raises:
        ConfigError: sqlite cannot open so long a path.
    """
    uri = config.tracking.uri or ""
    path = database(uri)
    if path is not None and len(path.encode()) > LONGEST_DATABASE:
        raise ConfigError(
            f"tracking.uri={uri}: sqlite opens no path of more than {LONGEST_DATABASE} bytes; "
            "choose a shorter output or tracking.uri"
        )
    return path
