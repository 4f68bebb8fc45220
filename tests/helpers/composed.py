"""Composes configurations quickly: what does not depend on values is composed once."""

import copy
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser

# `key=value` of a key in a section, or of one of the keys outside of all sections; not of Hydra.
_VALUE = re.compile(r"(?!hydra\.)(?:[a-z_]+\.[\w.]+|output|name|stages|seed|fresh)=.*", re.DOTALL)
# A directory of the user's own, as `load` names it to Hydra.
_OWN = re.compile(r"hydra\.searchpath=\['file://(.*)'\]", re.DOTALL)
_COMPOSED: dict[tuple[str, ...], Any] = {}


def compose_once(name: str, overrides: Sequence[str] = ()) -> Any:
    """The same as Hydra's `compose`, which takes its time to read all files again.

    Groups are composed as Hydra does and kept. Values are read and set by Hydra every time.
    """
    values = [override for override in overrides if _VALUE.fullmatch(override)]
    groups = [override for override in overrides if override not in values]
    key = tuple(_contents(override) for override in groups)
    if key not in _COMPOSED:
        _COMPOSED[key] = compose(name, groups)
    composed = copy.deepcopy(_COMPOSED[key])
    parsed = OverridesParser.create().parse_overrides(values)
    ConfigLoaderImpl._apply_overrides_to_config(parsed, composed)
    return composed


def _contents(override: str) -> str:
    """The override. A directory of the user's own counts as the text of its files."""
    own = _OWN.fullmatch(override)
    if own is None:
        return override
    texts = []
    for path in sorted(Path(own[1]).rglob("*.yaml")):
        texts.append(f"{path.relative_to(own[1])}\n{path.read_text()}")
    return "\n".join(texts)
