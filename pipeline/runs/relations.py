"""How the places of a run lie to each other: what a run leaves may not mix with what it reads."""

import os
from collections.abc import Iterator
from pathlib import Path

from pipeline.config.places import Named, named_files, recordings, stores
from pipeline.config.root import STORE_FOLDER, Config
from pipeline.core import storage
from pipeline.core.errors import ConfigError
from pipeline.core.paths import ROOT
from pipeline.runs import files
from pipeline.store.manifest import FORMAT, MANIFEST


def require_apart(config: Config) -> None:
    """Check that the output lies apart from the recordings and the clip stores.

    Args:
        config: the configuration, with absolute paths.

    Raises:
        ConfigError: two places are the same, or lie in each other, where they may not.
    """
    output = config.output
    own_recordings = storage.join(output, files.RAW)
    for key, raw in recordings(config.data):
        if config.data.store is not None and is_same(raw, config.data.store):
            raise ConfigError(f"data.store={raw}: is also {key}; choose another for the store")
        if raw == own_recordings:
            continue
        relation = _relation(output, raw)
        if relation is not None:
            raise ConfigError(
                f"output={output}: {relation} {key}={raw}; choose an output apart from it"
            )
    for key, store in stores(config.data):
        if is_same(output, store):
            raise ConfigError(f"{key}={store}: is also the output; choose another output")
        if is_within(output, store):
            raise ConfigError(
                f"output={output}: lies in {key}={store}; choose an output apart from it"
            )
    _require_in_no_store(output)


def _require_in_no_store(output: str) -> None:
    """Check that the output does not lie in a clip store that the request does not name.

    On object storage a look at every folder above would take long.

    Raises:
        ConfigError: it does.
    """
    if storage.is_remote(output):
        return
    real = Path(os.path.realpath(output))
    for folder in (real, *real.parents):
        location = folder / MANIFEST
        # A pipe of this name would never end.
        if not location.is_file():
            continue
        manifest = storage.read_object(str(location))
        if manifest is not None and manifest.get("format") == FORMAT:
            raise ConfigError(
                f"output={output}: is or lies in the clip store {folder}; choose another output"
            )


def require_nothing_else_moves(config: Config) -> None:
    """Check that `fresh=true` would move nothing but the earlier run.

    Raises:
        ConfigError: the output is or contains a directory that this command needs or runs in.
    """
    for name, place in _protected(config):
        if is_within(place, config.output):
            raise ConfigError(
                f"output={config.output}: is or contains {name} ({place}), "
                "so fresh=true does not move it; choose another output"
            )


def is_within(inner: str, outer: str) -> bool:
    """True if a place is another one or lies in it, also through links and other names."""
    if storage.is_remote(inner) != storage.is_remote(outer):
        return False
    if storage.is_remote(inner):
        return f"{_plain(inner)}/".startswith(f"{_plain(outer)}/")
    real_inner = os.path.realpath(storage.absolute(inner))
    real_outer = os.path.realpath(storage.absolute(outer))
    identity = _identity(real_outer)
    for path in (Path(real_inner), *Path(real_inner).parents):
        if str(path) == real_outer:
            return True
        # The same directory may be mounted under two names, or its name may have two spellings.
        if identity is not None and _identity(str(path)) == identity:
            return True
    return False


def is_same(one: str, other: str) -> bool:
    """True if two places are the same, also through links."""
    return is_within(one, other) and is_within(other, one)


def _relation(output: str, other: str) -> str | None:
    """Return how the output lies to another place, None if they are apart."""
    if is_same(output, other):
        return "is also"
    if is_within(output, other):
        return "lies in"
    if is_within(other, output):
        return "contains"
    return None


def _protected(config: Config) -> Iterator[Named]:
    """Yield what may not be moved aside: its key or its description, and its place."""
    yield "the working directory", os.getcwd()
    yield "the home directory", os.path.expanduser("~")
    yield "the checkout of this program", str(ROOT)
    yield from recordings(config.data)
    own_store = storage.join(config.output, STORE_FOLDER)
    for key, store in stores(config.data):
        # The store of the earlier run goes with it.
        if key != "data.store" or store != own_store:
            yield key, store
    yield from named_files(config)


def _plain(uri: str) -> str:
    """Return a URI without its options, for comparison."""
    return storage.split_options(uri)[0].rstrip("/")


def _identity(path: str) -> tuple[int, int] | None:
    """Return what is the same for all names of a directory, None if it does not exist."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
