"""From the command line to a checked configuration, which Hydra composes from `conf/`."""

import difflib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.config.identity import flatten
from pipeline.config.root import STAGES, Config, check
from pipeline.core.errors import ConfigError
from pipeline.core.paths import CONF


@dataclass(frozen=True)
class Request:
    """The command line of a run.

    Attributes:
        overrides: `key=value` strings in Hydra's grammar.
        config_dir: a directory of the user's own YAML files, with the folders of `conf/`
            (`data/mine.yaml`, `skeleton/mine.yaml`).
    """

    overrides: tuple[str, ...] = ()
    config_dir: str | None = None


def load(overrides: Sequence[str], config_dir: str | None = None) -> Config:
    """Compose `conf/config.yaml` with the overrides of the command line, and check the result.

    Args:
        overrides: see `Request`.
        config_dir: see `Request`.

    Returns:
        The checked configuration. Its paths are still as the user wrote them.

    Raises:
        ConfigError: one line that names the key, the value and what is allowed.
    """
    own = None
    search = []
    if config_dir is not None:
        own = Path(config_dir).resolve()
        if not own.is_dir():
            raise ConfigError(f"--config-dir {config_dir}: not a directory")
        # As JSON, because a path may contain characters of Hydra's grammar.
        search = ["hydra.searchpath=[" + json.dumps(f"file://{own}") + "]"]
    try:
        with initialize_config_dir(str(CONF), version_base="1.3", job_name="skelfuse"):
            composed = compose("config", [*search, *overrides])
        values = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise ConfigError(_problem(error, own)) from None
    # pydantic refuses an unknown stage, too, but suggests no name.
    _require_known_stages(values)
    return check(values)


def experiments() -> list[str]:
    """Return the names of the experiments that come with the project."""
    return sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


def groups(own: Path | None = None) -> dict[str, list[str]]:
    """Return the configuration groups and their choices, both sorted.

    Args:
        own: a directory of the user's own YAML files. Their names are added to those of `conf/`.

    Returns:
        Name of a group -> names of its choices, such as `"data": ["ntu60", "nw_ucla", ...]`.
    """
    folders = [CONF]
    if own is not None:
        folders.append(own)
    found: dict[str, set[str]] = {}
    for folder in folders:
        for path in folder.glob("*/*.yaml"):
            found.setdefault(path.parent.name, set()).add(path.stem)
    return {group: sorted(found[group]) for group in sorted(found)}


def _require_known_stages(values: Any) -> None:
    """Raise ConfigError for an unknown stage, and suggest the nearest one."""
    stages = values.get("stages")
    if not isinstance(stages, list):
        return
    for number, stage in enumerate(stages):
        if isinstance(stage, str) and stage not in STAGES:
            known = ", ".join(f"'{name}'" for name in STAGES)
            raise ConfigError(
                f"stages.{number}={stage!r}: no such stage; {_nearest(stage, STAGES)}"
                f"the stages are {known}"
            )


def _problem(error: Exception, own: Path | None) -> str:
    """Say in one line what Hydra found wrong."""
    text = " ".join(str(error).split())
    # `data=nothing`: the group exists, the choice does not.
    choice = re.search(r"Could not find '([^']+)/([^'/]+)'", str(error))
    if choice:
        group, name = choice.groups()
        known = groups(own).get(group, [])
        available = ", ".join(known) or "nothing"
        return f"{group}={name}: unknown; {_nearest(name, known)}available: {available}"
    # `train.epoch=5`: no such key.
    override = re.search(r"Could not override '([^']+)'", str(error))
    if override:
        key = override.group(1)
        known = list(flatten(_default_values()))
        return f"{key}: no such key; {_nearest(key, known)}see --cfg job for all keys"
    # `seed=[1`: not Hydra's grammar.
    grammar = r"Error merging override|Error parsing override|mismatched|token recognition"
    if re.search(grammar, text):
        return f"cannot read the command line: {text}"
    return text


def _default_values() -> dict[str, Any]:
    """Return the default configuration as plain values, to know all keys."""
    with initialize_config_dir(str(CONF), version_base="1.3", job_name="skelfuse"):
        values = OmegaConf.to_container(compose("config"), resolve=False)
    # conf/config.yaml is a mapping, but the type checker cannot know it.
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def _nearest(word: str, known: Sequence[str]) -> str:
    """Return a question such as `did you mean data? `, or nothing if no known word is near."""
    close = difflib.get_close_matches(word, known, n=1)
    if not close:
        return ""
    return f"did you mean {close[0]}? "
