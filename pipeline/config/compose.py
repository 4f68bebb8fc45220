"""From the command line to a checked configuration, which Hydra composes from `conf/`."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.config import plain_text
from pipeline.config.former_words import refuse_former_settings, refuse_former_words
from pipeline.config.identity import flatten
from pipeline.config.own_files import require_readable_files
from pipeline.config.root import STAGES, Config, check
from pipeline.config.secret_settings import refuse_secrets
from pipeline.config.variables import read_variable
from pipeline.core.errors import ConfigError
from pipeline.core.paths import CONF
from pipeline.core.secrets import redact

# A wrong value is shown up to this length.
SHOWN = 300
# The key that names a recorded run, see `pipeline.from_run`.
FROM_RUN = "from_run"
# Of a number. A float has up to 309 digits before the point.
MOST_DIGITS = 400


@dataclass(frozen=True)
class Request:
    """The command line of a run.

    Attributes:
        overrides: `key=value` strings in Hydra's grammar, except that places are plain text (see
            `pipeline.config.plain_text`).
        config_dir: a directory of the user's own YAML files, with the folders of `conf/`
            (`data/mine.yaml`, `skeleton/mine.yaml`).
        clips: the fingerprint that the clip store of the run must have, if it is a recorded run
            that is made again.
    """

    overrides: tuple[str, ...] = ()
    config_dir: str | None = None
    clips: str | None = None

    @property
    def names_recorded_run(self) -> bool:
        """True if the request is to make a run again that MLflow has recorded."""
        return any(key_of(override) == FROM_RUN for override in self.overrides)


def key_of(override: str) -> str:
    """Return the key of an override, without what marks it as added or deleted."""
    return override.partition("=")[0].lstrip("+~")


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
        own = _own_directory(config_dir)
        search = [f"hydra.searchpath=[{plain_text.quote(f'file://{own}')}]"]
    refuse_former_words(overrides)
    words = []
    for override in overrides:
        _require_ours(override)
        _require_short_numbers(override)
        words.append(plain_text.quoted(override))
    # OmegaConf's own resolver would read any variable.
    OmegaConf.register_new_resolver("oc.env", read_variable, replace=True)
    try:
        with initialize_config_dir(str(CONF), version_base="1.3", job_name="skelfuse"):
            composed = compose("config", [*search, *words])
        values = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except RecursionError:
        raise ConfigError("the command line: a value has too many brackets in brackets") from None
    except (HydraException, OmegaConfBaseException, ValueError, OSError) as error:
        raise ConfigError(_problem(error, own)) from None
    refuse_secrets(values, overrides)
    refuse_former_settings(values)
    # pydantic refuses an unknown stage, too, but suggests no name.
    _require_known_stages(values)
    return check(values)


def _require_ours(override: str) -> None:
    """Raise ConfigError for a setting of Hydra itself, which would be read and do nothing."""
    key = key_of(override)
    if not key.strip():
        raise ConfigError(f"{_shortened(override)!r}: has no key; write key=value")
    if key.startswith(("hydra.", "hydra/")):
        raise ConfigError(f"{key}: Hydra's own settings are not used here")


def _require_short_numbers(override: str) -> None:
    """Raise ConfigError for a number of so many digits that Python reads none of it."""
    key, _, value = override.partition("=")
    if re.search(rf"\d{{{MOST_DIGITS}}}", value):
        raise ConfigError(f"{key}: has a number of more than {MOST_DIGITS} digits")


def _own_directory(config_dir: str) -> Path:
    """Return the absolute path of a directory of the user's own, its YAML files checked.

    Raises:
        ConfigError: it is no directory, or one of its files is damaged.
    """
    if not config_dir.strip():
        raise ConfigError("--config-dir: is empty; an unset variable?")
    try:
        own = Path(config_dir).expanduser().resolve()
        is_directory = own.is_dir()
    except (OSError, RuntimeError, ValueError):
        # The path is too long, no user has this name, or links form a circle.
        is_directory = False
    if not is_directory:
        shown = " ".join(config_dir.split())
        raise ConfigError(f"--config-dir {_shortened(shown)}: not a directory")
    require_readable_files(own)
    return own


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
    refusal = _refusal_in(error)
    if refusal is not None:
        return refusal
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
        if key in known:
            # `data=nw_ucla data.synthetic.cameras=2`
            return f"{key}: no such key with what else was chosen; see --cfg job for all keys"
        return f"{key}: no such key; {_nearest(key, known)}see --cfg job for all keys"
    # `seed=[1`: not Hydra's grammar.
    grammar = r"Error merging override|Error parsing override|mismatched|token recognition"
    typed = getattr(error, "override", None)
    if typed is not None:
        reason = text.splitlines()[0].removesuffix("See https://hydra.cc for details.")
        return f"cannot read the command line: {_shortened(typed)}: {_shortened(reason)}"
    if re.search(grammar, text):
        return f"cannot read the command line: {_shortened(text)}"
    return _shortened(text)


def _refusal_in(error: BaseException) -> str | None:
    """Return the message of our own error, with its key, if OmegaConf packed one into its own."""
    cause = error.__context__
    while cause is not None and not isinstance(cause, ConfigError):
        cause = cause.__context__
    if cause is None:
        return None
    key = getattr(error, "full_key", None)
    return f"{key}={cause}" if key else str(cause)


def _shortened(text: str) -> str:
    # First, because a part of a secret would not be recognised.
    text = redact(text)
    if len(text) <= SHOWN:
        return text
    return f"{text[:SHOWN]}..."


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
