"""Two searches in one output directory: a search goes on only with the settings that it began with.

What its points are, and by what they are compared, may not change. How many trials there are in
all, and how many run at the same time, may.
"""

from typing import Any

from pipeline.config.identity import flatten, identity
from pipeline.config.root import Config
from pipeline.config.sweep import Sweep
from pipeline.core import storage
from pipeline.core.errors import ConfigError
from pipeline.runs import files
from pipeline.runs.directory import saved_config

# These decide which points are tried, and how they are judged.
DECIDING = {"space", "search", "seeds", "criterion", "scheduler"}
# A message names so many settings, and counts the others.
NAMED_DIFFERENCES = 5


def require_same_search(config: Config) -> None:
    """Check that the trials in an output directory are of the search that is asked for.

    A table may change: each of its records says what it measured.

    Args:
        config: of the sweep, with absolute places.

    Raises:
        ConfigError: they are of another search, or of a table.
    """
    if config.fresh or config.sweep is None or not _has_trials(config.output):
        return
    if not storage.exists(storage.join(config.output, files.CONFIG)):
        return
    saved = saved_config(config.output)
    if saved.sweep is None:
        return
    if not saved.sweep.is_search and not config.sweep.is_search:
        return
    if saved.sweep.is_search != config.sweep.is_search:
        there = "a search" if saved.sweep.is_search else "a table"
        raise ConfigError(
            f"output={config.output}: holds the trials of {there}; choose another, or fresh=true"
        )
    _refuse(config.output, _differences(saved, config))


def _has_trials(output: str) -> bool:
    for folder in storage.folders(output):
        if storage.exists(storage.join(output, folder, files.TRIAL)):
            return True
    return False


def _differences(saved: Config, config: Config) -> dict[str, tuple[Any, Any]]:
    """Return the settings that differ: key -> (there, now)."""
    assert saved.sweep is not None
    assert config.sweep is not None
    there = _deciding(saved.sweep) | identity(saved)
    now = _deciding(config.sweep) | identity(config)
    differing = {}
    for key in sorted(there.keys() | now.keys()):
        if there.get(key) != now.get(key):
            differing[key] = (there.get(key), now.get(key))
    return differing


def _deciding(sweep: Sweep) -> dict[str, Any]:
    """Return the settings of a search that may not change, flat."""
    flat = flatten(sweep.model_dump(mode="json", include=DECIDING), "sweep.")
    given = {key: value for key, value in flat.items() if value is not None}
    # A grid numbers its points by the order of its keys.
    given["sweep.space"] = list(sweep.space or {})
    return given


def _refuse(output: str, differing: dict[str, tuple[Any, Any]]) -> None:
    """Raise ConfigError if any setting differs."""
    if not differing:
        return
    named = []
    for key, (there, now) in list(differing.items())[:NAMED_DIFFERENCES]:
        named.append(f"{key} ({there} there, {now} now)")
    text = ", ".join(named)
    if len(differing) > NAMED_DIFFERENCES:
        text += f" and {len(differing) - NAMED_DIFFERENCES} more"
    raise ConfigError(
        f"output={output}: holds a search with other settings: {text}; "
        "choose another, or fresh=true"
    )
