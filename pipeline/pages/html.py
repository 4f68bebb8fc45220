"""Builds the pages of a run: HTML files that embed all they show and so open anywhere.

Every function returns HTML. Plain text that comes in is escaped here and nowhere else, with `text`;
parameters named `body` are HTML already.
"""

import base64
import html
from collections.abc import Iterable, Sequence
from string import Template
from typing import Any

from pipeline.core import shown_text


def document(title: str, about: str, body: str) -> bytes:
    """A whole page.

    Args:
        title: of the page, as its heading and in the browser's tab.
        about: a sentence under the heading.
        body: the HTML of the rest.

    Returns:
        The file, in UTF-8.
    """
    return _PAGE.substitute(title=text(title), about=text(about), body=body).encode()


def text(words: str) -> str:
    """Text as HTML, also within an attribute: without secrets, on one line."""
    return html.escape(shown_text.one_line(words))


def tiles(values: Iterable[tuple[str, str]]) -> str:
    """Headline numbers, each with a text that says what it is."""
    shown = [
        f"<div><b>{text(value)}</b><span>{text(words)}</span></div>" for value, words in values
    ]
    return f'<div class="headline">{"".join(shown)}</div>'


def image(name: str, data: bytes, caption: str) -> str:
    """A PNG or GIF file, embedded."""
    kind = "gif" if data.startswith(b"GIF") else "png"
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    picture = f'<img alt="{text(name)}" src="{source}">'
    return f"<figure>{picture}<figcaption>{text(caption)}</figcaption></figure>"


def gallery(images: Iterable[str]) -> str:
    """Images side by side."""
    return f'<div class="gallery">{"".join(images)}</div>'


def paragraph(words: str) -> str:
    """A paragraph of text."""
    return f"<p>{text(words)}</p>"


def warning(words: str) -> str:
    """A paragraph that stands out."""
    return f'<p class="warning">{text(words)}</p>'


def section(title: str, body: str, note: str = "") -> str:
    """A heading with HTML under it, and between them a sentence about it."""
    heading = f"<h2>{text(title)}</h2>"
    if note:
        heading += f'<p class="about">{text(note)}</p>'
    return heading + body


def table(rows: Iterable[Sequence[Any]], header: Sequence[str] = ()) -> str:
    """A table.

    Args:
        rows: of cells (see `shown`); the first cell of each names the row.
        header: the names of the columns; none leaves the heading out.
    """
    head = ""
    if header:
        names = [f"<th>{text(name)}</th>" for name in header]
        head = f"<thead><tr>{''.join(names)}</tr></thead>"
    body = "".join(map(_row, rows))
    return f"<table>{head}{body}</table>"


def _row(values: Sequence[Any]) -> str:
    first, *others = [text(shown(value)) for value in values]
    cells = [f"<th>{first}</th>"]
    cells += [f"<td>{other}</td>" for other in others]
    return f"<tr>{''.join(cells)}</tr>"


def folded(summary: str, body: str, is_open: bool = False) -> str:
    """HTML that opens and closes on a click on its summary."""
    tag = "<details open>" if is_open else "<details>"
    return f"{tag}<summary>{text(summary)}</summary>{body}</details>"


def code(words: str) -> str:
    """Text as it is, line by line, in a fixed-width font."""
    return f"<pre>{html.escape(shown_text.lines(words))}</pre>"


def shown(value: Any) -> str:
    """A value as text: a float with six digits, everything else as Python prints it."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)


_PAGE = Template("""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>$title</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; max-width: 60rem;
  margin: 2.5rem auto; padding: 0 1.2rem }
h1 { margin: 0 } h2 { margin: 2.5rem 0 .5rem; font-size: 1.1rem }
.about, figcaption { color: #6b7280 }
.headline { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1.5rem 0 }
.headline div { flex: 1; min-width: 10rem; border: 1px solid #e5e7eb; border-radius: 8px;
  padding: .8rem 1rem }
.headline b { display: block; font-size: 1.7rem }
.headline span { color: #6b7280; font-size: .85rem }
figure { margin: 2rem 0 } img { max-width: 100% } figcaption { font-size: .85rem }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(26rem, 1fr)); gap: 1rem }
.gallery figure { margin: 0 }
.warning { border-left: 4px solid #d9622b; background: #fdf3ee; padding: .6rem 1rem;
  margin: 1rem 0 }
table { border-collapse: collapse; font-size: .9rem } thead { color: #6b7280; font-size: .85rem }
th { text-align: left; font-weight: 500; padding-right: 2rem; vertical-align: top }
td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; padding-right: 1.2rem;
  vertical-align: top }
tr { border-bottom: 1px solid #e5e7eb } details { margin: .8rem 0 }
pre { background: #f6f8fa; padding: 1rem; border-radius: 8px; overflow: auto; font-size: .8rem }
</style>
<h1>$title</h1><p class="about">$about</p>
$body
</html>
""")
