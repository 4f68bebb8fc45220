"""What a run shows of its table: files in its output, and a table on the console."""

from pipeline.tables.plot import plot
from pipeline.tables.rows import Table
from pipeline.tables.text import cells_of, commands, description, markdown
from pipeline.core import console, storage
from pipeline.pages import html
from pipeline.runs import files
from pipeline.runs.directory import RunDirectory


def write_markdown(table: Table, directory: RunDirectory) -> None:
    """Write the table as it stands. It is small, so that this can be done after every cell."""
    text = markdown(table, files.ABLATION_PLOT)
    storage.write_bytes(directory.path(files.ABLATION), f"{text}\n".encode())


def write_pages(table: Table, directory: RunDirectory) -> list[str]:
    """Write the table as Markdown, plot and page, and return where they lie."""
    write_markdown(table, directory)
    image = plot(table)
    storage.write_bytes(directory.path(files.ABLATION_PLOT), image)
    header, body = cells_of(table.rows, detailed=True)
    caption = "Linear accuracy over what inference of one clip costs."
    content = html.image("plot", image, caption) + html.section("Table", html.table(body, header))
    about = f"{'; '.join(commands(table))}: {description(table)}"
    page = html.document(table.name, about, content)
    storage.write_bytes(directory.path(files.ABLATION_PAGE), page)
    return [
        directory.path(files.ABLATION),
        directory.path(files.ABLATION_PLOT),
        directory.path(files.ABLATION_PAGE),
    ]


def print_table(table: Table) -> None:
    """Print the table on the console."""
    console.table(table.name, *cells_of(table.rows))
