"""Pages hold what they are given, and text never becomes HTML."""

from pipeline.pages import html as pages


def test_text_is_escaped_and_html_is_not():
    evil = "<b>&\"'"
    escaped = "&lt;b&gt;&amp;&quot;&#x27;"
    assert pages.section(evil, "<i>x</i>", evil) == (
        f'<h2>{escaped}</h2><p class="about">{escaped}</p><i>x</i>'
    )
    assert pages.section("title", "") == "<h2>title</h2>"
    assert pages.tiles([(evil, evil)]).count(escaped) == 2
    assert pages.image(evil, b"\x89PNG", evil).count(escaped) == 2


def test_what_cannot_be_encoded_is_shown_as_an_escape():
    page = pages.document("a\ud800", "", "body")
    assert "<title>a\\ud800</title>" in page.decode()


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
