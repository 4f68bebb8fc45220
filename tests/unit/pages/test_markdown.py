"""Text in Markdown is shown as it is. Another reader of Markdown says what is shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pipeline.core.shown_text import one_line
from pipeline.pages import markdown as md
from tests.helpers import hostile

READER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
# What Markdown may take for more than text.
WORDS = st.text("ab1 .)(|`*_~#+-=>&<![]\\\"'\n\r\t$:/", max_size=30)
INLINE = {"text", "softbreak"}


def read(markdown: str) -> list:
    """The tokens of a text, those within lines included."""
    found = []
    for token in READER.parse(markdown):
        found.append(token)
        found += token.children or []
    return found


def shown(markdown: str) -> str:
    """What a paragraph shows; it must hold nothing but text."""
    opening, inline, closing = READER.parse(markdown)
    assert (opening.type, closing.type) == ("paragraph_open", "paragraph_close")
    assert {token.type for token in inline.children} <= INLINE
    return "".join(token.content for token in inline.children)


@given(WORDS)
def test_a_paragraph_shows_its_text(words):
    if one_line(words).strip():
        assert shown(md.paragraph(words)) == one_line(words).strip()


@given(WORDS)
def test_a_code_span_shows_its_text(words):
    if one_line(words).strip():
        (token,) = READER.parse(f"x{md.code(words)}y")[1].children[1:2]
        assert (token.type, token.content) == ("code_inline", one_line(words))


@given(st.lists(WORDS, min_size=1, max_size=3))
def test_a_block_shows_its_lines(lines):
    (token,) = READER.parse(md.block(lines, "bash"))
    assert (token.type, token.info) == ("fence", "bash")
    assert token.content == "\n".join(map(one_line, lines)) + "\n"


@given(st.lists(WORDS, min_size=4, max_size=4))
def test_a_table_has_the_cells_that_it_was_given(words):
    tokens = read(md.table(words[:2], [words[2:]]))
    cells = [token.content for token in tokens if token.type == "inline"]
    assert len(cells) == 4
    for cell, word in zip(cells, words, strict=True):
        if cell:
            assert shown(cell if cell[0] not in "#+-=" else f"\\{cell}") == one_line(word).strip()


@pytest.mark.parametrize("name", hostile.ALL)
def test_a_hostile_name_is_text(name):
    assert shown(md.paragraph(name)) == one_line(name)
    heading = READER.parse(f"# {md.text(name)}")
    assert [token.tag for token in heading] == ["h1", "", "h1"]


def test_usual_names_stay_readable():
    for name in ("ablation_nw_ucla", "torch 2.13.0+cpu", "full (1 collapsed)", "-3.2 \u00b1 0.4"):
        assert md.text(name) == name
    assert md.code("full") == "`full`"
    assert md.block(["a", "b"], "bash") == "```bash\na\nb\n```"
    assert md.image("a plot", "table.png") == "![a plot](table.png)"
    assert md.text("see https://evil.example, www.evil.example") == (
        r"see https\://evil.example, www\.evil.example"
    )


def test_an_image_may_lie_anywhere():
    (image,) = READER.parse(md.image("a [b]", "a (1) <b>.png"))[1].children
    assert image.type == "image"
    assert image.attrs["src"] == "a%20(1)%20%3Cb%3E.png"
    assert image.content == r"a \[b\]"


def test_no_secret_is_written():
    for write in (md.text, md.paragraph, md.code, lambda words: md.block([words])):
        assert "swordfish" not in write("http://me:swordfish@host")
