"""Configurations of the version before, read as those of this one.

Before version 0.2 a reader was a name, and the options of some readers stood beside it:

    reader: arrays                 reader:
    arrays:                 ->       format: arrays
      table: clips.csv               table: clips.csv

So the `config.yaml` of an older run still opens, and a data set of a user's own still loads.
"""

from typing import Any

# Where the options of a reader stood.
READER_OPTIONS = ("pku_mmd", "arrays")


def upgraded(values: Any) -> Any:
    """Return the plain values of a configuration in today's form; others are left as they are."""
    if not isinstance(values, dict) or not isinstance(values.get("data"), dict):
        return values
    data = values["data"]
    has_options = any(name in data for name in READER_OPTIONS)
    if not isinstance(data.get("reader"), str) and not has_options:
        return values
    return {**values, "data": _with_reader(data)}


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
        if not isinstance(reader, dict) or reader.get("format") != name:
            # Options of another reader: left in place, where they are refused by their name.
            kept[name] = options
        else:
            reader = {**reader, **options}
    return {**kept, "reader": reader}
