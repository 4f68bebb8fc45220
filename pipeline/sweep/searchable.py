"""Whether a space can be searched, found out before anything starts.

Runs are composed at the corners of the space: at both ends of each range, and at each value of a
choice. This module does without torch; whether models can be built there is checked by
`pipeline.sweep.search.require_buildable`.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.config.command_line import as_value
from pipeline.config.compose import Request, groups, load
from pipeline.config.identity import digest, is_computed
from pipeline.config.root import Config
from pipeline.config.sweep import Criterion, Range
from pipeline.core.errors import ConfigError
from pipeline.runs.metric_names import CRITERIA
from pipeline.sweep.space import Params, corners, overrides_of

# The sections whose settings are searched. Their groups of files are searched as well.
SEARCHED = ("stream", "views", "model", "objective", "train")
# These settings of the data say how clips are used, and not which ones there are.
SEARCHED_DATA = re.compile(r"data\.normalise\.\w+|data\.pool\.\d+\.weight")
_KEY = re.compile(r"[A-Za-z_]\w*(\.\w+)*")
# Why other settings are not searched, by the beginning of their key.
REASONS = {
    "seed": "a point is run with every seed of sweep.seeds; give them there",
    "data.protocol": "sweep.criterion says on which clips all trials are measured",
    "data.protocols": "sweep.criterion says on which clips all trials are measured",
    "data": "all trials use the same clips",
    "evaluate": "all trials are measured in the same way",
    "stream.cache": "all trials read one stream of clips",
    "stream.window": "all trials read one stream of clips",
    "experiment": "a search is about the settings of one experiment",
    "skeleton": "all trials use the same clips",
    "mapping": "all trials use the same clips",
}


def require_searchable(config: Config, request: Request) -> None:
    """Check the criterion of a search and its space.

    Args:
        config: of the sweep.
        request: what the user typed for it.

    Raises:
        ConfigError: an unknown figure, a key that cannot be searched, or a value that no run
            accepts.
    """
    assert config.sweep is not None
    assert config.sweep.space is not None
    assert config.sweep.criterion is not None
    _require_known(config.sweep.criterion)
    for key in config.sweep.space:
        _require_searched(key)
    _require_effect(config.sweep.space, list(corner_runs(config.sweep.space, request)))


def corner_runs(
    space: dict[str, Range], request: Request
) -> Iterator[tuple[str | None, Params, Config]]:
    """Compose the runs at the corners of a space.

    Yields:
        The key that has not its first value (see `corners`), the point, and its configuration.

    Raises:
        ConfigError: no run accepts a value; the message names the key and the value.
    """
    for key, params in corners(space):
        try:
            config = _load(request, params)
        except ConfigError as error:
            raise ConfigError(_problem(key, params, request, error)) from None
        yield key, params, config


def named_problem(key: str, value: Any, problem: str) -> str:
    """Return a message about a value of a space, which names key and value once."""
    if problem.startswith((f"{key}=", f"{key}:", f"{key} ")):
        return f"sweep.space.{problem}"
    return f"sweep.space.{key}={as_value(value)}: {problem}"


def _problem(key: str | None, params: Params, request: Request, error: ConfigError) -> str:
    """Say at which value of a corner the problem lies."""
    if key is not None:
        return named_problem(key, params[key], str(error))
    # At the first corner all keys have other values than without a search: find the one.
    for name, value in params.items():
        try:
            _load(request, {name: value})
        except ConfigError as alone:
            return named_problem(name, value, str(alone))
    return f"sweep.space: together, {', '.join(overrides_of(params))} are no run: {error}"


def _load(request: Request, params: Params) -> Config:
    return load([*request.overrides, *overrides_of(params)], request.config_dir)


def _require_known(criterion: Criterion) -> None:
    """Raise ConfigError for an unknown figure, or for a protocol that would do nothing."""
    metric = criterion.metric
    if metric not in CRITERIA:
        close = difflib.get_close_matches(metric, CRITERIA, n=1)
        nearest = f"did you mean {close[0]}? " if close else ""
        raise ConfigError(
            f"sweep.criterion.metric={metric}: no such figure; {nearest}"
            f"the figures are {', '.join(CRITERIA)}"
        )
    if criterion.protocol is not None and not CRITERIA[metric].needs_labels:
        raise ConfigError(
            f"sweep.criterion.protocol={criterion.protocol}: {metric} needs no labels, and is "
            "measured on the clips of training; leave it out"
        )


def _require_searched(key: str) -> None:
    """Raise ConfigError for a key that exists, but that a search does not change."""
    if not _KEY.fullmatch(key):
        raise ConfigError(f"sweep.space.{key}: no such key; see --cfg job for all keys")
    reason = _reason(key)
    if reason is not None:
        raise ConfigError(f"sweep.space.{key}: cannot be searched: {reason}")


def _reason(key: str) -> str | None:
    """Return why a key is not searched, None if it is, or if it does not exist."""
    if SEARCHED_DATA.fullmatch(key):
        return None
    for beginning, reason in REASONS.items():
        if key == beginning or key.startswith(f"{beginning}."):
            return reason
    section = key.partition(".")[0]
    exists = section in Config.model_fields or section in groups()
    if exists and (section not in SEARCHED or not is_computed(key)):
        return "it does not change what a run learns"
    return None


def _require_effect(
    space: Mapping[str, Range], composed: list[tuple[str | None, Params, Config]]
) -> None:
    """Raise ConfigError if two values of a choice make the same run."""
    _, first, base = composed[0]
    for key in space:
        seen = {digest(base): first[key]}
        for changed, params, config in composed[1:]:
            if changed != key:
                continue
            hashed = digest(config)
            earlier = seen.get(hashed)
            if hashed not in seen:
                seen[hashed] = params[key]
            else:
                raise ConfigError(
                    f"sweep.space.{key}: {as_value(earlier)} and {as_value(params[key])} make "
                    "the same run; leave one out"
                )
