"""Pages of a run: HTML files that hold all they show and open anywhere. Text is escaped here and nowhere else."""

import base64
import html
from collections.abc import Iterable, Sequence
from string import Template
from typing import Any


def document(title: str, about: str, body: str) -> bytes:
    """The page; `body` is HTML. What cannot be encoded (names may hold anything) is shown as an escape."""
    page = _PAGE.substitute(title=html.escape(title), about=html.escape(about), body=body)
    return page.encode("utf-8", "backslashreplace")


def tiles(values: Iterable[tuple[str, str]]) -> str:
    """Headline numbers, each with what it is."""
    shown = "".join(
        f"<div><b>{html.escape(value)}</b><span>{html.escape(text)}</span></div>"
        for value, text in values
    )
    return f'<div class="headline">{shown}</div>'


def image(name: str, data: bytes, caption: str) -> str:
    """A PNG or GIF, embedded."""
    kind = "gif" if data.startswith(b"GIF") else "png"
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    alt = html.escape(name, quote=True)
    return f'<figure><img alt="{alt}" src="{source}"><figcaption>{html.escape(caption)}</figcaption></figure>'


def gallery(images: Iterable[str]) -> str:
    """Images side by side."""
    return f'<div class="gallery">{"".join(images)}</div>'


def paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def warning(text: str) -> str:
    return f'<p class="warning">{html.escape(text)}</p>'


def section(title: str, body: str, note: str = "") -> str:
    """A heading with HTML under it, and a sentence about it."""
    about = f'<p class="about">{html.escape(note)}</p>' if note else ""
    return f"<h2>{html.escape(title)}</h2>{about}{body}"


def table(rows: Iterable[Sequence[Any]], header: Sequence[str] = ()) -> str:
    """Rows of cells; the first cell of each names the row."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    body = "".join(
        f"<tr>{_cell('th', first)}{''.join(_cell('td', value) for value in others)}</tr>"
        for first, *others in rows
    )
    return f"<table>{f'<thead><tr>{head}</tr></thead>' if header else ''}{body}</table>"


def _cell(tag: str, value: Any) -> str:
    return f"<{tag}>{html.escape(shown(value))}</{tag}>"


def folded(summary: str, body: str, is_open: bool = False) -> str:
    """HTML that opens and closes on a click."""
    return f"<details{' open' * is_open}><summary>{html.escape(summary)}</summary>{body}</details>"


def code(text: str) -> str:
    """Text as it is, line by line."""
    return f"<pre>{html.escape(text)}</pre>"


def shown(value: Any) -> str:
    """A value as text: a fraction with six digits, whole numbers as they are."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


_PAGE = Template("""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>$title</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; max-width: 60rem; margin: 2.5rem auto; padding: 0 1.2rem }
h1 { margin: 0 } h2 { margin: 2.5rem 0 .5rem; font-size: 1.1rem } .about, figcaption { color: #6b7280 }
.headline { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1.5rem 0 }
.headline div { flex: 1; min-width: 10rem; border: 1px solid #e5e7eb; border-radius: 8px; padding: .8rem 1rem }
.headline b { display: block; font-size: 1.7rem } .headline span { color: #6b7280; font-size: .85rem }
figure { margin: 2rem 0 } img { max-width: 100% } figcaption { font-size: .85rem }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(26rem, 1fr)); gap: 1rem }
.gallery figure { margin: 0 }
.warning { border-left: 4px solid #d9622b; background: #fdf3ee; padding: .6rem 1rem; margin: 1rem 0 }
table { border-collapse: collapse; font-size: .9rem } thead { color: #6b7280; font-size: .85rem }
th { text-align: left; font-weight: 500; padding-right: 2rem; vertical-align: top }
td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; padding-right: 1.2rem; vertical-align: top }
tr { border-bottom: 1px solid #e5e7eb } details { margin: .8rem 0 }
pre { background: #f6f8fa; padding: 1rem; border-radius: 8px; overflow: auto; font-size: .8rem }
</style>
<h1>$title</h1><p class="about">$about</p>
$body
</html>
""")
