"""Older forms of the configuration, converted to the form of today.

So the `config.yaml` of an older run still opens, and a user's own data set still loads. Four
things have changed. A reader was a name, and the options of some readers stood beside it:

    reader: arrays                 reader:
    arrays:                 ->       format: arrays
      table: clips.csv               table: clips.csv

The reader `arrays` had a key `axes`, a text that nothing read. Now `data.coordinates` declares the
axes. A configuration without it has recordings in the canonical form.

A table of runs was made by the stage `ablate`, which ingested its recordings, too. Its section had
keys for the paths of its results, and for the command line of the run. Now it is a sweep:

    stages: [ablate]               stages: [ingest, sweep]
    ablate:                 ->     sweep:
      results: outputs/table
      variants: {...}                variants: {...}

Settings were added. They get the values under which a run computes what it computed before (see
`pipeline.config.added_later`).
"""

from collections.abc import Sequence
from typing import Any

from pipeline.config.added_later import ADDED_LATER
from pipeline.config.former_words import ABLATE, STAGES, SWEEP

# The former keys of `data` with the options of a reader.
READER_OPTIONS = ("pku_mmd", "arrays")
# The former keys of `ablate`. Nothing reads them any more.
FORMER_ABLATE_KEYS = ("results", "page", "command", "config_dir")


def upgraded(values: Any) -> Any:
    """Return the plain values of a configuration in today's form.

    Args:
        values: nested mappings. Anything else is returned as it is; the check refuses it later.
    """
    if not isinstance(values, dict):
        return values
    sections = {}
    data = values.get("data")
    if isinstance(data, dict):
        if _has_old_reader(data):
            data = _with_reader(data)
        if _has_axes(data):
            data = data | {"reader": _without_axes(data["reader"])}
        if data is not values["data"]:
            sections["data"] = data
    if sections:
        values = values | sections
    if ABLATE in values:
        values = _with_sweep(values)
    return _with_added(values)


def _with_added(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values with the settings that were added later, where they are missing."""
    for key, value in ADDED_LATER.items():
        if key.startswith("data.reader."):
            # The keys of a reader depend on its format, and have defaults there.
            continue
        path = key.split(".")
        # The check names a section that is missing as a whole.
        if path[0] in values:
            values = _with_default(values, path, value)
    return values


def _with_default(values: dict[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """Return nested mappings with a value at a path, or as they are if there is one already."""
    name, *rest = path
    if not rest:
        return values if name in values else values | {name: value}
    inner = values.get(name, {})
    if not isinstance(inner, dict):
        return values
    filled = _with_default(inner, rest, value)
    return values if filled is inner else values | {name: filled}


def _has_old_reader(data: dict[str, Any]) -> bool:
    return isinstance(data.get("reader"), str) or any(name in data for name in READER_OPTIONS)


def _with_reader(data: dict[str, Any]) -> dict[str, Any]:
    """Return the section `data` with the reader's options in the reader."""
    reader = data.get("reader")
    if isinstance(reader, str):
        reader = {"format": reader}
    kept = {key: value for key, value in data.items() if key not in READER_OPTIONS}
    for name in READER_OPTIONS:
        options = data.get(name)
        if options is None:
            continue
        if isinstance(reader, dict) and reader.get("format") == name:
            reader = reader | options
        else:
            # Options of another reader stay in place, so that the check refuses them by name.
            kept[name] = options
    return kept | {"reader": reader}


def _has_axes(data: dict[str, Any]) -> bool:
    reader = data.get("reader")
    return isinstance(reader, dict) and reader.get("format") == "arrays" and "axes" in reader


def _without_axes(reader: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in reader.items() if key != "axes"}


def _with_sweep(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values with the section `sweep` instead of `ablate`."""
    others = {key: value for key, value in values.items() if key != ABLATE}
    table = values[ABLATE]
    if isinstance(table, dict):
        table = {key: value for key, value in table.items() if key not in FORMER_ABLATE_KEYS}
    stages = values.get("stages")
    if isinstance(stages, list) and ABLATE in stages:
        # It had to be the only stage.
        others["stages"] = list(STAGES)
    if table is None:
        return others
    return others | {SWEEP: table}
