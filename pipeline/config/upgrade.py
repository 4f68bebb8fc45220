"""Configurations of the version before, read as those of this one.

Before version 0.2 a reader was a name, and the options of some readers stood beside it:

    reader: arrays                 reader:
    arrays:                 ->       format: arrays
      table: clips.csv               table: clips.csv

And a table of cells named where its results go, and held the command line that it was run with.

So the `config.yaml` of an older run still opens, and a data set of a user's own still loads.
"""

from typing import Any

# Where the options of a reader stood.
READER_OPTIONS = ("pku_mmd", "arrays")
# Keys of `ablate` that mean nothing any more.
ABLATE_BEFORE = ("results", "page", "command", "config_dir")


def upgraded(values: Any) -> Any:
    """Return the plain values of a configuration in today's form.

    What is in today's form already, or is no configuration, is returned as it is.
    """
    if not isinstance(values, dict):
        return values
    sections = {}
    if _has_old_reader(values.get("data")):
        sections["data"] = _with_reader(values["data"])
    if _has_old_keys(values.get("ablate")):
        sections["ablate"] = _without_old_keys(values["ablate"])
    if not sections:
        return values
    return values | sections


def _has_old_reader(data: Any) -> bool:
    if not isinstance(data, dict):
        return False
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
            # Options of another reader: left in place, where they are refused by their name.
            kept[name] = options
    return kept | {"reader": reader}


def _has_old_keys(ablate: Any) -> bool:
    return isinstance(ablate, dict) and any(key in ablate for key in ABLATE_BEFORE)


def _without_old_keys(ablate: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in ablate.items() if key not in ABLATE_BEFORE}
