"""Pages hold what they are given, and text never becomes HTML."""

from html.parser import HTMLParser

import pytest

from pipeline.core.shown_text import one_line
from pipeline.pages import html as pages
from tests.helpers import hostile


def test_text_is_escaped_and_html_is_not():
    evil = "<b>&\"'"
    escaped = "&lt;b&gt;&amp;&quot;&#x27;"
    assert pages.section(evil, "<i>x</i>", evil) == (
        f'<h2>{escaped}</h2><p class="about">{escaped}</p><i>x</i>'
    )
    assert pages.section("title", "") == "<h2>title</h2>"
    assert pages.tiles([(evil, evil)]).count(escaped) == 2
    assert pages.image(evil, b"\x89PNG", evil).count(escaped) == 2


@pytest.mark.parametrize("name", hostile.ALL)
def test_a_hostile_name_is_text_everywhere(name):
    parts = [
        pages.tiles([(name, name)]),
        pages.image(name, b"\x89PNG", name),
        pages.gallery([pages.image(name, b"\x89PNG", name)]),
        pages.paragraph(name),
        pages.warning(name),
        pages.section(name, "", name),
        pages.table([(name, name)], (name, name)),
        pages.folded(name, ""),
    ]
    page = pages.document(name, name, "".join(parts)).decode()
    found = read(page)
    assert found.texts == 16 * [one_line(name)]
    assert found.alternatives == 2 * [one_line(name)]
    assert found.tags.isdisjoint({"script", "b2", "a"})


def test_code_keeps_its_lines():
    shown = read(pages.code(f"a:\n\tb: {hostile.HTML}\n{hostile.CONTROL}"))
    assert shown.texts == [
        f"a:\n\tb: {hostile.HTML}\na\ufffd[31m\ufffd\ufffd\nb\ufffdc\ufffdd\ufffd"
    ]


def test_no_secret_is_written():
    secret = "http://me:swordfish@host"
    page = pages.document(secret, secret, pages.code(secret) + pages.table([(secret, secret)]))
    assert b"swordfish" not in page


class Found(HTMLParser):
    """What a page shows."""

    def __init__(self):
        super().__init__()
        self.texts, self.alternatives, self.tags = [], [], set()
        self.is_style = False

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.is_style = tag == "style"
        if tag == "img":
            self.alternatives.append(dict(attributes)["alt"])

    def handle_data(self, text):
        if text.strip() and not self.is_style:
            self.texts.append(text)

    def handle_endtag(self, tag):
        self.is_style = False


def read(page: str) -> Found:
    found = Found()
    found.feed(page)
    found.close()
    return found


def test_the_first_cell_of_a_row_names_it():
    assert pages.table([("a", 1, 0.5)]) == (
        "<table><tr><th>a</th><td>1</td><td>0.5</td></tr></table>"
    )
    assert pages.table([("a", 1 / 3)], ["name", "share"]) == (
        "<table><thead><tr><th>name</th><th>share</th></tr></thead>"
        "<tr><th>a</th><td>0.333333</td></tr></table>"
    )


def test_what_is_folded_opens_on_a_click_unless_it_is_open():
    assert pages.folded("s", "<i>x</i>").startswith("<details><summary>s</summary>")
    assert pages.folded("s", "<i>x</i>", is_open=True).startswith("<details open><summary>")


def test_an_image_says_what_it_is():
    assert 'src="data:image/gif;base64,R0lG' in pages.image("a", b"GIF89a", "")
    assert 'src="data:image/png;base64,iVBO' in pages.image("a", b"\x89PNG", "")
