"""Words of the version before for tables of runs: what to write today instead.

stages=[ablate] experiment=ablation_nw_ucla   ->  sweep=ablation_nw_ucla
ablate.only=[late]                            ->  sweep.only=[late]
"""

import re
from collections.abc import Iterable
from typing import Any

from pipeline.core.errors import ConfigError
from pipeline.core.paths import CONF

# The former name of the stage, and of its section.
ABLATE = "ablate"
SWEEP = "sweep"
# The stages that took its place.
STAGES = ("ingest", SWEEP)


def refuse_former_words(overrides: Iterable[str]) -> None:
    """Check that a command line has no former words.

    Args:
        overrides: `key=value` strings.

    Raises:
        ConfigError: it has; the message says what to write.
    """
    words = dict(_parts(override) for override in overrides)
    for key in words:
        if key == ABLATE or key.startswith(f"{ABLATE}."):
            raise ConfigError(f"{key}: no such key any more; write {_key_today(key)}")
    names_stage = re.search(rf"\b{ABLATE}\b", words.get("stages", "")) is not None
    experiment = words.get("experiment", "")
    if experiment in _former_experiments():
        former = f"experiment={experiment}"
        if names_stage:
            former = f"stages=[{ABLATE}] {former}"
        raise ConfigError(f"{former}: a table is a sweep now; write sweep={experiment} instead")
    if names_stage:
        _refuse_stage()


def refuse_former_settings(settings: Any) -> None:
    """Check that composed settings have no former words: a file of the user's own may have some.

    Args:
        settings: nested mappings.

    Raises:
        ConfigError: they have; the message says what to write.
    """
    stages = settings.get("stages")
    if isinstance(stages, list) and ABLATE in stages:
        _refuse_stage()
    if settings.get(ABLATE) is not None:
        raise ConfigError(f"{ABLATE}: no such section any more; its name is {SWEEP} now")


def todays_override(override: str) -> str:
    """Return an override in today's words.

    Args:
        override: `key=value` of a table, maybe of the version before.
    """
    key, value = _parts(override)
    if key == "experiment" and value in _former_experiments():
        return f"{SWEEP}={value}"
    if key.startswith(f"{ABLATE}."):
        return override.replace(key, _key_today(key), 1)
    return override


def _refuse_stage() -> None:
    raise ConfigError(
        f"stages=[{ABLATE}]: a table is a sweep now; write stages=[{','.join(STAGES)}] and "
        "sweep=NAME, such as sweep=ablation_nw_ucla"
    )


def _parts(override: str) -> tuple[str, str]:
    """Return key and value, without Hydra's marks for adding and deleting a key."""
    key, _, value = override.partition("=")
    return key.lstrip("+~"), value


def _key_today(key: str) -> str:
    return SWEEP + key.removeprefix(ABLATE)


def _former_experiments() -> set[str]:
    """Return the names of the tables that were experiments, and are sweeps now."""
    names = set()
    for pattern in ("ablation_*.yaml", "pooled_*.yaml"):
        for path in (CONF / SWEEP).glob(pattern):
            names.add(path.stem)
    return names
