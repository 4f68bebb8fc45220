"""Two searches in one output directory: a search goes on only with the settings that it began with.

What its points are, and by what they are compared, may not change. How many trials there are in
all, and how many run at the same time, may.
"""

from typing import Any

from pipeline.config.identity import different_values, flatten, identity, named
from pipeline.config.root import Config
from pipeline.core import storage
from pipeline.core.errors import ConfigError
from pipeline.runs import files
from pipeline.runs.directory import RunDirectory, saved_config
from pipeline.runs.state import read_state

# These decide which points are tried, and how they are judged.
DECIDING = {"space", "search", "seeds", "criterion", "scheduler"}


def require_same_search(config: Config) -> None:
    """Check that the trials in an output directory are of the search that is asked for.

    A table may change: each of its records says what it measured. Other stages of the same request
    are checked, too: they write the configuration anew, which says what the trials are of.

    Args:
        config: of the run, with absolute places.

    Raises:
        ConfigError: they are of another search, or of a table, or no sweep is asked for.
    """
    if config.fresh or not storage.exists(storage.join(config.output, files.CONFIG)):
        return
    saved = saved_config(config.output)
    if saved.sweep is None or not _has_trials(config.output):
        return
    if config.sweep is None:
        raise ConfigError(
            f"output={config.output}: holds the trials of a sweep; "
            "give its sweep=NAME, too, or choose another"
        )
    if not saved.sweep.is_search and not config.sweep.is_search:
        return
    if saved.sweep.is_search != config.sweep.is_search:
        there = "a search" if saved.sweep.is_search else "a table"
        raise ConfigError(
            f"output={config.output}: holds the trials of {there}; choose another, or fresh=true"
        )
    differing = different_values(_settings(saved), _settings(config))
    if differing:
        raise ConfigError(
            f"output={config.output}: holds a search with other settings: {named(differing)}; "
            "choose another, or fresh=true"
        )


def recall_stores(config: Config, directory: RunDirectory) -> None:
    """Let a search go on with the stores of its trials, also if it has finished no stage.

    A run that was killed in its first stage may begin with other clips. A search may not: what its
    trials measured would be compared with what others measure on other clips.

    Args:
        config: of the sweep, with absolute places.
        directory: the output directory, opened. Its state gets the stores.
    """
    is_search = config.sweep is not None and config.sweep.is_search
    if config.fresh or not is_search or directory.state.stores or not _has_trials(directory.uri):
        return
    saved = read_state(directory.path(files.STATE))
    if saved is not None:
        directory.state.stores = saved.stores
        directory.state.places = saved.places


def _has_trials(output: str) -> bool:
    for folder in storage.folders(output):
        if storage.exists(storage.join(output, folder, files.TRIAL)):
            return True
    return False


def _settings(config: Config) -> dict[str, Any]:
    """Return the settings that may not change, flat: those of the search and of its trials."""
    assert config.sweep is not None
    search = config.sweep.model_dump(mode="json", include=DECIDING)
    flat = flatten(search, "sweep.") | identity(config)
    given = {key: value for key, value in flat.items() if value is not None}
    # A grid numbers its points by the order of its keys.
    given["sweep.space"] = list(config.sweep.space or {})
    return given
