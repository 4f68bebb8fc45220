r"""Paths on the command line, as people have them.

The grammar of Hydra gives a meaning to many characters that paths have: `~`, `=`, `#`, `(1)`,
quotes, letters of other alphabets. So the value of a key that is a place is put in quotes before
Hydra reads it:

    data.raw=/data/NTU (1).zip     ->  data.raw='/data/NTU (1).zip'
    data.raw=[~/a,/data/O'Brien]   ->  data.raw=['~/a','/data/O\'Brien']

Three things keep their meaning: `null`, a value in quotes, and `${key}`, which refers to another
key. A list in brackets stays a list, also for a key that takes none, whose check then refuses it.
"""

import re

# The keys whose values are places.
PLACES = (
    "output",
    "data.raw",
    "data.store",
    "data.names",
    "data.left_out",
    r"data.pool.\d+.store",
    "data.reader.table",
    "tracking.uri",
    "cluster.address",
    "cluster.storage_endpoint",
    "sweep.published",
)
# The keys whose values are names, ids and filters of MLflow's, which are as odd.
TEXTS = ("compare.experiment", "compare.filter", "compare.runs", "compare.sweep")
# `+` and `++` are Hydra's marks for a key that is added.
_PLACE = re.compile(r"(\+{0,2}(?:" + "|".join((*PLACES, *TEXTS)) + r")=)(.*)", re.DOTALL)
_POOL = re.compile(r"\+{0,2}data\.pool=.*", re.DOTALL)
# In `data.pool`: the place of a store, not in quotes.
_POOLED_STORE = re.compile(r"(\bstore:\s*)([^\s'\",}][^,}]*?)(?=\s*[,}])")
# Text in quotes, with any quote in it behind a backslash.
_IN_QUOTES = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
# An item of a list: text in quotes, or everything up to the next comma.
_ITEM = re.compile(rf"\s*(?:(?P<quoted>{_IN_QUOTES.pattern})\s*(?=,|$)|(?P<plain>[^,]*))(?:,|$)")
_BEFORE_QUOTE = re.compile(r"(\\*)('|$)")
_INTERPOLATION = re.compile(r"(\\*)\$\{")


def quoted(override: str) -> str:
    """Return an override with the value in quotes if its key is one of PLACES and TEXTS.

    Args:
        override: `key=value`, as it was typed.
    """
    if _POOL.fullmatch(override):
        return _POOLED_STORE.sub(lambda match: match[1] + quote(match[2]), override)
    place = _PLACE.fullmatch(override)
    if place is None:
        return override
    key, value = place.groups()
    return key + _quoted_value(value)


def quote(text: str) -> str:
    """Return a text in the quotes of Hydra's grammar.

    Backslashes stay as they are, except before a quote, where they count double.
    """

    def escaped(match: re.Match[str]) -> str:
        backslashes, mark = match.groups()
        if mark:
            mark = f"\\{mark}"
        return 2 * backslashes + mark

    return f"'{_BEFORE_QUOTE.sub(escaped, text)}'"


def without_interpolation(text: str) -> str:
    r"""Return a text whose `${key}` OmegaConf does not replace by the value of a key.

    It counts the backslashes before it: `a${b}` becomes `a\${b}`, and `a\${b}` `a\\\${b}`.
    """
    return _INTERPOLATION.sub(lambda match: f"{2 * match[1]}\\${{", text)


def _quoted_value(value: str) -> str:
    if value == "" or value.strip().lower() == "null" or _IN_QUOTES.fullmatch(value):
        return value
    if value.startswith("[") and value.endswith("]"):
        return f"[{','.join(_quoted_items(value[1:-1]))}]"
    return quote(value)


def _quoted_items(text: str) -> list[str]:
    """Return the items of a list in quotes. An empty list has none."""
    if not text.strip():
        return []
    items = []
    position = 0
    # A comma at the end is followed by an empty item.
    while position <= len(text):
        item = _ITEM.match(text, position)
        assert item is not None  # The pattern matches everything.
        items.append(item["quoted"] or quote(item["plain"].strip()))
        position = item.end()
        if not item[0].endswith(","):
            break
    return items
