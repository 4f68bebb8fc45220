"""From a configuration back to the command line that composes it: to show a run, and to repeat it.

A run records what was typed. That is composed again, and what differs from the recorded
configuration is added as overrides, since the files in `conf/` may have changed:

    typed:       experiment=nw_ucla train.epochs=3
    recorded:    the same, with train.batch_size=64 where the experiment has 128 today
    command:     experiment=nw_ucla train.epochs=3 train.batch_size=64

Where nothing is known of what was typed, the nearest experiment and groups take its place.
"""

import math
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.config import plain_text
from pipeline.config.compose import Request, groups, key_of, load
from pipeline.config.places import settle_places
from pipeline.config.root import Config
from pipeline.core.errors import ConfigError

# These keys belong to one command and not to what it runs.
OF_ONE_COMMAND = ("output", "fresh", "tracking.uri", "cluster.address")
# Keys whose typed values may be relative to another directory.
MOVED = ("data.raw", "data.store", "data.names", "data.left_out")
# The groups that a command chooses from, and the beginning of the keys that each sets. The first
# ones set keys of the others.
GROUPS = {
    "sweep": "sweep.",
    "experiment": "",
    "data": "data.",
    "mapping@data.mapping": "data.mapping",
    "objective": "objective.",
    "stream": "stream.",
    "views": "views.",
    "model": "model.",
    "train": "train.",
    "evaluate": "evaluate.",
    "cluster": "cluster.",
}
# A part of a key that Hydra reads without quotes.
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
# Text that Hydra reads as text without quotes, unless it is one of the words.
_TEXT = re.compile(r"[A-Za-z_/](?:[A-Za-z0-9_./-]*[A-Za-z0-9_])?")
_WORDS = ("null", "true", "false", "nan", "inf")
# In the key of a mapping these come behind a backslash.
_SPECIAL = re.compile(r"([\\()\[\]{}:=, \t'\"])")

# A changed value: its key, its value, and whether the key is new.
_Setting = tuple[str, Any, bool]


def shell_command(request: Request) -> str:
    """Return the command of a request, quoted for bash and zsh."""
    words = ["skelfuse"]
    if request.config_dir is not None:
        words += ["--config-dir", request.config_dir]
    return shlex.join([*words, *request.overrides])


def command_of(config: Config, typed: Sequence[str] | None, config_dir: str | None) -> list[str]:
    """Return overrides that compose to a configuration.

    They say nothing about the keys in OF_ONE_COMMAND.

    Args:
        config: the configuration, with absolute places.
        typed: the overrides that were typed for it, None if nobody knows.
        config_dir: a directory of the user's own YAML files, as it is now.

    Raises:
        ConfigError: no command line gives this configuration today. The message names a key.
    """
    taken = []
    for override in typed or ():
        if key_of(override) not in (*OF_ONE_COMMAND, *MOVED):
            taken.append(override)
    beginning = _composable(taken, config, config_dir)
    if typed is None or beginning != taken:
        beginning = _nearest(beginning, config, config_dir)
    changes = _changes_from(beginning, config, config_dir) or []
    for added in ("+", "++"):
        command = [*beginning, *_overrides(changes, added)]
        try:
            left = _changes_from(command, config, config_dir, strict=True)
        except ConfigError as error:
            problem = str(error)
            continue
        if not left:
            return command
        problem = f"{left[0][0]} cannot be said in one"
    raise ConfigError(f"no command line gives this configuration today: {problem}")


def _changes_from(
    overrides: Sequence[str], config: Config, config_dir: str | None, strict: bool = False
) -> list[_Setting] | None:
    """Return what must change where some overrides are composed, to get a configuration.

    Args:
        overrides: to begin with.
        config: the configuration that is wanted.
        config_dir: see `command_of`.
        strict: whether overrides that compose to nothing are an error; else they give None.
    """
    try:
        composed = settle_places(load(overrides, config_dir), in_job=False)
    except ConfigError:
        if strict:
            raise
        return None
    now, wanted = composed.model_dump(mode="json"), config.model_dump(mode="json")
    if wanted["sweep"] is None:
        # The section is that of a sweep whose trial this is. It does nothing without the stage.
        now["sweep"] = None
    return list(_changes(now, wanted, ""))


def _changes(now: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str) -> Iterator[_Setting]:
    """Yield the settings that make one nested mapping of another."""
    for key in now:
        if key not in wanted:
            yield f"~{prefix}{key}", None, False
    for key, value in wanted.items():
        name = f"{prefix}{key}"
        if name in OF_ONE_COMMAND or (key in now and _same(now[key], value)):
            continue
        former = now.get(key)
        if prefix == "" and isinstance(value, dict) and former is None:
            # `sweep={...}` would be a choice of the group.
            former = {}
        if isinstance(value, dict) and isinstance(former, dict) and _can_be_merged(former, value):
            yield from _changes(former, value, f"{name}.")
        elif isinstance(former, dict) and isinstance(value, dict):
            # Hydra would merge the two.
            yield f"~{name}", None, False
            yield name, value, True
        else:
            yield name, value, key not in now


def _same(now: Any, wanted: Any) -> bool:
    """True if two values are equal, with their keys in the same order: that of joints matters."""
    return bool(now == wanted) and repr(now) == repr(wanted)


def _can_be_merged(now: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """True if a mapping can become another one key by key."""
    if not all(_KEY.fullmatch(key) for key in (*now, *wanted)):
        return False
    kept = [key for key in now if key in wanted]
    added = [key for key in wanted if key not in now]
    # New keys come last.
    return [*kept, *added] == list(wanted)


def _overrides(changes: Sequence[_Setting], added: str) -> Iterator[str]:
    """Yield changes as overrides.

    Args:
        changes: see `_changes`.
        added: what marks a key that is new. `++` may also mark one that is not, because a key may
            be left out of a file and have a default.
    """
    for key, value, is_new in changes:
        if key.startswith("~"):
            yield key
        else:
            mark = added if is_new or added == "++" else ""
            yield f"{mark}{key}={as_value(value)}"


def as_value(value: Any) -> str:
    """Return a plain value in Hydra's grammar."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _as_text(value)
    if isinstance(value, list):
        return f"[{','.join(as_value(entry) for entry in value)}]"
    if isinstance(value, dict):
        entries = []
        for key, entry in value.items():
            entries.append(f"{_SPECIAL.sub(_escape, key)}:{as_value(entry)}")
        return f"{{{','.join(entries)}}}"
    return repr(value)


def _as_text(text: str) -> str:
    if _TEXT.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return plain_text.quote(plain_text.without_interpolation(text))


def _escape(match: re.Match[str]) -> str:
    return f"\\{match[0]}"


def _composable(typed: list[str], config: Config, config_dir: str | None) -> list[str]:
    """Return the overrides that still mean something.

    The files in `conf/` may have lost a key, and a directory of the user's own may be gone.
    """
    if _changes_from(typed, config, config_dir) is not None:
        return typed
    kept: list[str] = []
    for override in typed:
        if _changes_from([*kept, override], config, config_dir) is not None:
            kept.append(override)
    return kept


def _nearest(beginning: list[str], config: Config, config_dir: str | None) -> list[str]:
    """Return overrides, and the choices of groups that come nearest to a configuration.

    It takes a tenth of a second for every choice that there is.
    """
    choices = groups(None if config_dir is None else Path(config_dir).expanduser())
    best = beginning
    least = _distance(best, config, config_dir)
    for group, section in GROUPS.items():
        # What is right already need not be chosen. An experiment chooses everything.
        if not any(key.startswith(section) for key in _differing(best, config, config_dir)):
            continue
        beginning = best
        for choice in choices.get(group.partition("@")[0], []):
            tried = [*beginning, f"{group}={choice}"]
            distance = _distance(tried, config, config_dir)
            if distance < least:
                best, least = tried, distance
    return best


def _differing(overrides: Sequence[str], config: Config, config_dir: str | None) -> list[str]:
    """Return the keys that must change where some overrides are composed."""
    changes = _changes_from(overrides, config, config_dir) or []
    return [key.lstrip("~") for key, _, _ in changes]


def _distance(overrides: Sequence[str], config: Config, config_dir: str | None) -> float:
    """Return how many values must change where some overrides are composed."""
    changes = _changes_from(overrides, config, config_dir)
    if changes is None:
        return math.inf
    return sum(_size(value) for _, value, _ in changes)


def _size(value: Any) -> int:
    """Return of how many values a value consists."""
    if isinstance(value, list):
        return 1 + sum(_size(entry) for entry in value)
    if isinstance(value, dict):
        return 1 + sum(_size(entry) for entry in value.values())
    return 1
