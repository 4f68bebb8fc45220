"""A table as text: its columns, where its figures come from, and the Markdown of both."""

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.ablate.records import Record
from pipeline.ablate.rows import STARTS, Row, Spread, Table
from pipeline.runs.metric_names import (
    ACCURACIES,
    GFLOPS,
    KNN,
    LINEAR,
    PARAMETERS,
    PRETRAINING_GFLOPS,
    PRETRAINING_PARAMETERS,
)

# The accuracies that every table shows; the others are in the detailed one.
SHOWN = (LINEAR, KNN)

BEGIN = "<!-- generated, begin: results/publish.py rewrites up to the end mark -->"
END = "<!-- generated, end -->"


@dataclass(frozen=True)
class Column:
    """One column: its title, and what it shows of a row."""

    title: str
    text: Callable[[Row], str]


def cells_of(rows: Sequence[Row], detailed: bool = False) -> tuple[list[str], list[list[str]]]:
    """Return header and cells of a table.

    Args:
        rows: of the table.
        detailed: whether to show all that rows know, and not only what matters most.

    Returns:
        The titles, and the text of every row. Accuracies are in percent, differences in points.
    """
    columns = _columns(rows, detailed)
    header = [column.title for column in columns]
    body = []
    for row in rows:
        body.append([column.text(row) for column in columns])
    return header, body


def _columns(rows: Sequence[Row], detailed: bool) -> list[Column]:
    """Return the columns; those of figures that no row has are left out."""
    columns = [Column("variant", _variant), Column("seeds", lambda row: str(len(row.seeds)))]
    accuracies = list(ACCURACIES) if detailed else list(SHOWN)
    measured = [name for name in accuracies if any(name in row.figures for row in rows)]
    for name in measured:
        columns.append(_accuracy(name, ACCURACIES[name]))
    for name in SHOWN:
        if name in measured:
            columns.append(_difference(name))
    if detailed:
        for name, label in STARTS.items():
            if any(name in row.figures for row in rows):
                columns.append(_accuracy(name, label))
    columns.append(Column("GFLOPs", lambda row: f"{row.costs[GFLOPS]:.3g}"))
    if detailed:
        columns += [
            _millions("parameters", PARAMETERS),
            Column("GFLOPs of pretraining", lambda row: f"{row.costs[PRETRAINING_GFLOPS]:.3g}"),
            _millions("its parameters", PRETRAINING_PARAMETERS),
        ]
    return columns


def _variant(row: Row) -> str:
    if row.collapsed:
        return f"{row.variant} ({row.collapsed} collapsed)"
    return row.variant


def _accuracy(name: str, label: str) -> Column:
    return Column(label, lambda row: percent(row.figures.get(name)))


def _difference(name: str) -> Column:
    label = f"\u0394 {ACCURACIES[name]}"
    return Column(label, lambda row: percent(row.differences.get(name), sign="+"))


def _millions(title: str, cost: str) -> Column:
    return Column(title, lambda row: f"{row.costs[cost] / 1e6:.2f} M")


def percent(value: Spread | None, sign: str = "") -> str:
    """Return a spread in percent, nothing for None.

    Args:
        value: fractions, such as 0.897 and 0.006.
        sign: "+" shows the sign of positive values, too.

    Returns:
        For example `89.7 \u00b1 0.6`.
    """
    if value is None:
        return ""
    mean = f"{100 * value.mean:{sign}.1f}"
    if value.deviation is None:
        return mean
    return f"{mean} \u00b1 {100 * value.deviation:.1f}"


def commands(table: Table) -> list[str]:
    """Return the commands that the table was asked for with.

    Records that were taken over from another table do not count.
    """
    own = [record for record in table.records if record.experiment == table.name]
    texts = []
    for record in own or table.records:
        words = ["skelfuse", "stages=[ablate]", *record.command]
        texts.append(" ".join(shlex.quote(word) for word in words))
    return list(dict.fromkeys(texts))


def description(table: Table) -> str:
    """Return how the table came about: cells, seeds, protocols, dates, time and versions.

    The time of a cell that was stopped in between is the time since it went on.
    """
    records = table.records
    first = records[0].figures
    seeds = ", ".join(str(seed) for seed in sorted({record.seed for record in records}))
    hours = sum(record.seconds for record in records) / 3600
    codes = sorted({record.code for record in records})
    return (
        f"{len(records)} cells, seeds {seeds}; {_protocols(records)}, {first['epochs']} epochs, "
        f"probe {first['probe']}, last epoch. {_dates(records)}, {hours:.1f} hours on "
        f"{_machines(records)}; {_versions(records)}; code {', '.join(codes)}."
    )


def _protocols(records: Sequence[Record]) -> str:
    splits = set()
    for record in records:
        figures = record.figures
        splits.add((figures["protocol"], figures["train_clips"], figures["test_clips"]))
    texts = [f"{name} ({train:,} / {test:,} clips)" for name, train, test in sorted(splits)]
    word = "protocols" if len(texts) > 1 else "protocol"
    return f"{word} {', '.join(texts)}"


def _dates(records: Sequence[Record]) -> str:
    dates = sorted({record.date for record in records})
    if len(dates) == 1:
        return dates[0]
    return f"{dates[0]} to {dates[-1]}"


def _machines(records: Sequence[Record]) -> str:
    texts = []
    for count, gpu in sorted({(record.workers, record.gpu) for record in records}):
        kind = "GPU" if gpu else "worker"
        plural = "s" if count > 1 else ""
        texts.append(f"{count} {kind}{plural}")
    return " or ".join(texts)


def _versions(records: Sequence[Record]) -> str:
    texts = set()
    for record in records:
        texts.add(", ".join(f"{name} {version}" for name, version in record.versions.items()))
    return "; ".join(sorted(texts))


def markdown(table: Table, image: str) -> str:
    """Return a table in Markdown, with what stands over and under it.

    Args:
        table: to show.
        image: where its plot lies, seen from the Markdown file.
    """
    header, body = cells_of(table.rows)
    rules = ["---"] + ["---:"] * (len(header) - 1)
    lines = [f"| {' | '.join(cells)} |" for cells in (header, rules, *body)]
    paragraphs = [
        f"# {table.name}",
        "\n".join(["```bash", *commands(table), "```"]),
        description(table),
        "\n".join(lines),
        legend(table),
        f"![linear accuracy over GFLOPs of inference]({image})",
    ]
    return "\n\n".join(paragraphs)


def legend(table: Table) -> str:
    """Return what the columns of the table mean."""
    scatter = "from seed to seed"
    if table.has_splits:
        scatter += ", each on a split of its own"
    return (
        f"Accuracies in %, mean \u00b1 standard deviation {scatter}. \u0394: paired difference to "
        f"`{table.rows[0].variant}` over the seeds that both have, in points. `random`: the same "
        "encoder before training. GFLOPs: of inference of one clip."
    )


def replaced(text: str, part: str) -> str:
    """Return a page with its generated part replaced; what is written by hand stays.

    A page without marks gets the part at its end.
    """
    block = f"{BEGIN}\n{part}\n{END}"
    if BEGIN in text and END in text:
        pattern = f"{re.escape(BEGIN)}.*?{re.escape(END)}"
        # A function, because `sub` would interpret a backslash in a text.
        return re.sub(pattern, lambda _: block, text, flags=re.DOTALL)
    if not text.strip():
        return f"{block}\n"
    return f"{text.rstrip()}\n\n{block}\n"
