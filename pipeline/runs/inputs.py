"""What a run reads, compared with what it began with, whichever stages are left to run.

A run that goes on, or that is only shown again, has figures of certain clips. So another store in
the same place of the configuration is refused, and a store that merely moved is not. This module
does not import torch.
"""

from collections.abc import Iterator

from pipeline.config.places import pooled_stores
from pipeline.config.root import Config
from pipeline.core.errors import ConfigError, UserError
from pipeline.runs.directory import RunDirectory, has_store
from pipeline.runs.state import OWN_STORE, pool_key
from pipeline.store.manifest import read_manifest


def require_same_stores(config: Config, directory: RunDirectory) -> None:
    """Check that the stores of a run hold the clips that the run began with.

    A store that is gone is not compared: stages that need it say so, and others go without.

    Args:
        config: the configuration, with absolute paths.
        directory: the output directory, opened.

    Raises:
        ConfigError: a store holds other clips, or its manifest is damaged.
    """
    for key, setting, uri in _stores(config):
        known = directory.state.stores.get(key)
        if known is None or not has_store(uri):
            continue
        try:
            found = read_manifest(uri)["fingerprint"]
        except UserError as error:
            raise ConfigError(str(error)) from None
        if found != known:
            began_with = _describe(directory.state.places.get(key), known)
            raise ConfigError(
                f"{setting}={uri}: holds other clips ({_short(found)}) than those that the run in "
                f"{directory.uri} began with ({began_with}); choose another output, or fresh=true"
            )


def _stores(config: Config) -> Iterator[tuple[str, str, str]]:
    """Yield the key in `RunState.stores`, the name of the setting, and the place of each store."""
    yield OWN_STORE, "data.store", config.store
    for number, (setting, store) in enumerate(pooled_stores(config.data)):
        yield pool_key(number), setting, store


def _describe(place: str | None, fingerprint: str) -> str:
    """Return the place and the identity of the store that a run began with."""
    if place is None:
        return _short(fingerprint)
    return f"{place}, {_short(fingerprint)}"


def _short(fingerprint: str) -> str:
    """Return the beginning of a fingerprint, which is enough to tell two stores apart."""
    return f"fingerprint {fingerprint[:8]}"
