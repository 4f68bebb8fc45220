"""A table of hostile names is a table: in Markdown, on its page, in its plot, on the console."""

from dataclasses import replace

import pytest
from markdown_it import MarkdownIt

from pipeline.core.shown_text import one_line
from pipeline.tables.page import print_table, write_markdown, write_plot
from pipeline.tables.rows import Table
from pipeline.tables.text import BEGIN, END, description, markdown, replaced
from tests.helpers import hostile
from tests.helpers.measured import measured

SECRET = "tracking.uri=http://me:swordfish@host"


def table_of(name: str) -> Table:
    """A table with this name wherever records have one."""
    records = []
    for variant in (name, f"{name}{END}"):
        run = measured(variant, 0, linear_top1=0.9, probe=name, protocol=name)
        changed = {"experiment": name, "command": [name, END, SECRET], "versions": {name: name}}
        records.append(replace(run, **changed, code_versions=[name], date=name))
    return Table.of(name, records, [name, f"{name}{END}"])


@pytest.mark.parametrize("name", hostile.ALL)
def test_markdown_has_the_parts_that_it_should(name):
    text = markdown(table_of(name), "plot.png")
    assert "swordfish" not in text
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    blocks = [
        (token.type, token.tag) for token in tokens if token.level == 0 and token.nesting >= 0
    ]
    paragraph = ("paragraph_open", "p")
    heading = ("heading_open", "h1")
    assert blocks == [
        heading,
        ("fence", "code"),
        paragraph,
        ("table_open", "table"),
        paragraph,
        paragraph,
    ]
    opened = [token.type for token in tokens]
    # A heading, two variants and the random start, each with a cell for each of five columns.
    assert opened.count("tr_open") == 4
    assert opened.count("th_open") == 5
    assert opened.count("td_open") == 3 * 5
    links = [token for line in tokens for token in line.children or [] if token.tag in ("a", "img")]
    assert [link.type for link in links] == ["image"]
    assert not [line for line in tokens if line.type == "html_block"]


@pytest.mark.parametrize("name", hostile.ALL)
def test_the_generated_part_is_replaced_as_a_whole(name):
    part = markdown(table_of(name), "plot.png")
    page = replaced("", part)
    written_on = f"above\n\n{page}\nbelow\n"
    assert replaced(written_on, part) == written_on
    assert replaced(written_on, "new") == f"above\n\n{BEGIN}\nnew\n{END}\n\nbelow\n"


def test_files_and_console_show_names_as_text(tmp_path, capsys):
    table = table_of(hostile.MARKUP + hostile.HTML)
    write_markdown(table, str(tmp_path))
    write_plot(table, str(tmp_path))
    print_table(table)
    assert one_line(hostile.MARKUP) in capsys.readouterr().out
    for path in tmp_path.iterdir():
        assert b"swordfish" not in path.read_bytes()


def test_every_length_of_training_is_named():
    records = []
    for variant, epochs in (("full", 40), ("longest", 160), ("late", 40), ("long", 80)):
        records.append(measured(variant, 0, linear_top1=0.9, epochs=epochs))
    text = description(Table.of("lengths", records, ["full"]))
    assert "40, 80 or 160 epochs, probe p, last epoch" in text
