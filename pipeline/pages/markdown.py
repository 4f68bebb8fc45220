"""Text in Markdown (GitHub's), so that names are shown as they are.

Names of tables, variants, protocols and classes come from files that others wrote. Every text that
goes into Markdown goes through one of these functions.
"""

import re
from collections.abc import Iterable, Sequence

from pipeline.core.shown_text import one_line

# What begins markup anywhere in a line. A backslash before it makes a character of it.
_MARKUP = re.compile(r"[\\`*\[\]|~$]")
# An underscore within a word is a letter: `linear_top1`. At its edge it may begin emphasis.
_EDGE = re.compile(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
# What begins a heading, a list, a quotation or a rule at the beginning of a line.
_BEGINNING = re.compile(r"^(\s*)([#+=-]|\d+(?=[.)]))")
# GitHub makes links of plain addresses.
_LINK = re.compile(r"(?i)\b(https?|ftp|mailto|xmpp|www)(?=[:.])")


def text(words: str) -> str:
    r"""Return text as the Markdown that shows it within a line: in a cell, in a heading.

    Example: `text("a|b <i> *c*")` returns `r"a\|b &lt;i&gt; \*c\*"`.
    """
    shown = one_line(words)
    shown = _MARKUP.sub(r"\\\g<0>", shown)
    shown = _EDGE.sub(r"\\_", shown)
    shown = _LINK.sub(r"\1\\", shown)
    return shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def paragraph(words: str) -> str:
    """Return text as a paragraph of Markdown, whatever it begins with."""
    return _BEGINNING.sub(_escaped_beginning, text(words))


def _escaped_beginning(match: re.Match[str]) -> str:
    blanks, mark = match.groups()
    if mark.isdigit():
        # "1." becomes "1\.".
        return f"{blanks}{mark}\\"
    return f"{blanks}\\{mark}"


def code(words: str) -> str:
    """Return text as a code span.

    Example: `` code("a`b") `` returns ``` ``a`b`` ```.
    """
    shown = one_line(words)
    fence = _fence(shown, 1)
    # A blank on both sides is taken away again. It parts the marks from ones in the text.
    if shown.startswith("`") or shown.endswith("`") or shown != shown.strip():
        shown = f" {shown} "
    return f"{fence}{shown}{fence}"


def block(lines: Sequence[str], language: str = "") -> str:
    """Return lines as a block of code."""
    shown = "\n".join(map(one_line, lines))
    fence = _fence(shown, 3)
    return f"{fence}{language}\n{shown}\n{fence}"


def _fence(shown: str, least: int) -> str:
    """Return more backticks than any run of them in the text."""
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    return "`" * max(least, longest + 1)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table. Its first column holds names, on the left; the others hold figures.

    Args:
        header: the C names of the columns.
        rows: C cells each.
    """
    rules = ["---"] + ["---:"] * (len(header) - 1)
    lines = [_row(map(text, header)), _row(rules)]
    for row in rows:
        lines.append(_row(map(text, row)))
    return "\n".join(lines)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def image(words: str, place: str) -> str:
    """Return an image.

    Args:
        words: what it shows.
        place: where it lies, seen from the page.
    """
    # A place in angle brackets may hold blanks and round brackets.
    if re.fullmatch(r"[\w./-]+", place):
        return f"![{text(words)}]({place})"
    shown = re.sub(r"[\\<>]", r"\\\g<0>", one_line(place))
    return f"![{text(words)}](<{shown}>)"
