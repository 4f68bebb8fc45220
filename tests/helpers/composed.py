"""Composes configurations quickly: what does not depend on values is composed once."""

import copy
import re
from collections.abc import Sequence
from typing import Any

from hydra import compose
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser

# `key=value` of a key in a section, or of one of the keys outside of all sections.
_VALUE = re.compile(r"(?:[a-z_]+\.[\w.]+|output|name|stages|seed|fresh)=.*", re.DOTALL)
_COMPOSED: dict[tuple[str, ...], Any] = {}


def compose_once(name: str, overrides: Sequence[str] = ()) -> Any:
    """The same as Hydra's `compose`, which takes its time to read all files again.

    Groups are composed as Hydra does and kept. Values are read and set by Hydra every time.
    """
    if any(override.startswith("hydra.") for override in overrides):
        # A directory of the user's own, whose files may change.
        return compose(name, list(overrides))
    values = [override for override in overrides if _VALUE.fullmatch(override)]
    groups = tuple(override for override in overrides if override not in values)
    if groups not in _COMPOSED:
        _COMPOSED[groups] = compose(name, list(groups))
    composed = copy.deepcopy(_COMPOSED[groups])
    parsed = OverridesParser.create().parse_overrides(values)
    ConfigLoaderImpl._apply_overrides_to_config(parsed, composed)
    return composed
