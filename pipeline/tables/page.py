"""What a run shows of its table: files in its output, and a table on the console."""

from pipeline.core import console, storage
from pipeline.runs import files
from pipeline.tables.plot import plot
from pipeline.tables.rows import Table
from pipeline.tables.text import cells_of, markdown
from pipeline.tables.verdict_text import print_verdicts


def write_markdown(table: Table, folder: str) -> str:
    """Write the table as it stands, and return where. This is cheap enough for every trial."""
    place = storage.join(folder, files.TABLE)
    storage.write_bytes(place, f"{markdown(table, files.TABLE_PLOT)}\n".encode())
    return place


def write_plot(table: Table, folder: str) -> str:
    """Write the plot of the table, and return where."""
    place = storage.join(folder, files.TABLE_PLOT)
    storage.write_bytes(place, plot(table))
    return place


def print_table(table: Table) -> None:
    """Print the table on the console, and its verdicts."""
    console.table(table.name, *cells_of(table.rows, table.noise))
    for plan in table.plans:
        print_verdicts(plan, table.judgements(plan))
