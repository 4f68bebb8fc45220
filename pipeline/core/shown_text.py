"""Text that others chose (names of files, classes, clips), made fit to be shown."""

import re

from pipeline.core.secrets import redact

REPLACEMENT = "\ufffd"

# What a terminal or a browser would obey, and what ends a line: control characters, line and
# paragraph separators, marks that turn the direction of writing, and lone surrogates, which are in
# names of files that are not UTF-8 and cannot be encoded.
_OBEYED = "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_IN_LINE = re.compile(f"[{_OBEYED}\t\n]")
_IN_LINES = re.compile(f"[{_OBEYED}]")


def one_line(text: str) -> str:
    r"""Return a text as one line, without secrets; what would be obeyed is replaced.

    Example: `one_line("a\x1b[31m\nb")` returns `"a\ufffd[31m\ufffdb"`.
    """
    return _IN_LINE.sub(REPLACEMENT, redact(text))


def lines(text: str) -> str:
    """Return a text as `one_line` does, but keep its line feeds and tabs."""
    return _IN_LINES.sub(REPLACEMENT, redact(text))
