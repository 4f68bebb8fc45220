"""What a run shows of its table: files in its output, and a table on the console."""

from pipeline.core import console, storage
from pipeline.pages import html
from pipeline.runs import files
from pipeline.tables.plot import plot
from pipeline.tables.rows import Table
from pipeline.tables.text import cells_of, commands, description, markdown


def write_markdown(table: Table, folder: str) -> None:
    """Write the table as it stands. It is small, so that this can be done after every trial."""
    text = markdown(table, files.ABLATION_PLOT)
    storage.write_bytes(storage.join(folder, files.ABLATION), f"{text}\n".encode())


def write_pages(table: Table, folder: str) -> list[str]:
    """Write the table as Markdown, plot and page, and return where they lie."""
    write_markdown(table, folder)
    image = plot(table)
    storage.write_bytes(storage.join(folder, files.ABLATION_PLOT), image)
    header, body = cells_of(table.rows, detailed=True)
    caption = "Linear accuracy over what inference of one clip costs."
    content = html.image("plot", image, caption) + html.section("Table", html.table(body, header))
    about = f"{'; '.join(commands(table))}: {description(table)}"
    page = html.document(table.name, about, content)
    storage.write_bytes(storage.join(folder, files.ABLATION_PAGE), page)
    return [
        storage.join(folder, files.ABLATION),
        storage.join(folder, files.ABLATION_PLOT),
        storage.join(folder, files.ABLATION_PAGE),
    ]


def print_table(table: Table) -> None:
    """Print the table on the console."""
    console.table(table.name, *cells_of(table.rows))
