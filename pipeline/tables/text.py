"""A table as text: its columns, where its figures come from, and the Markdown of both."""

import math
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.pages import markdown as md
from pipeline.runs.metric_names import (
    ACCURACIES,
    GFLOPS,
    KNN,
    LINEAR,
    RETRIEVAL_MAP,
)
from pipeline.tables.noise import Noise
from pipeline.tables.rows import RANDOM, Recorded, Row, Spread, Table, at_least
from pipeline.tables.verdict_text import planned_text, verdict_paragraphs

# The accuracies that a table shows. The page of its trials has the others.
SHOWN = (LINEAR, KNN, RETRIEVAL_MAP)

BEGIN = "<!-- generated, begin: results/publish.py rewrites up to the end mark -->"
END = "<!-- generated, end -->"


@dataclass(frozen=True)
class Column:
    """One column: its title, and what it shows of a row."""

    title: str
    text: Callable[[Row], str]


def cells_of(rows: Sequence[Row], noise: Noise | None = None) -> tuple[list[str], list[list[str]]]:
    """Return header and cells of a table.

    Args:
        rows: of the table.
        noise: deviations are at least as large as those of runs that differ in rounding alone.

    Returns:
        The titles, and the text of every row. Accuracies are in percent, differences in points.
    """
    columns = _columns(rows, noise)
    header = [column.title for column in columns]
    body = []
    for row in rows:
        body.append([column.text(row) for column in columns])
    return header, body


def _columns(rows: Sequence[Row], noise: Noise | None) -> list[Column]:
    """Return the columns."""
    columns = [Column("variant", _variant), Column("seeds", lambda row: str(len(row.seeds)))]
    shown = _shown(rows)
    columns += [_accuracy(name, noise) for name in shown]
    columns += [_difference(name, noise) for name in shown]
    columns.append(Column("GFLOPs", lambda row: f"{row.costs[GFLOPS]:.3g}"))
    return columns


def _shown(rows: Sequence[Row]) -> list[str]:
    """Return the accuracies that have a column: those of all variants.

    Records of older versions lack some, and encoders before training are not always measured.
    """
    trained = [row for row in rows if row.variant != RANDOM]
    return [name for name in SHOWN if all(name in row.figures for row in trained)]


def _variant(row: Row) -> str:
    if row.collapsed:
        return f"{row.variant} ({row.collapsed} collapsed)"
    return row.variant


def _accuracy(name: str, noise: Noise | None) -> Column:
    def text(row: Row) -> str:
        value = row.figures.get(name)
        if value is not None and noise is not None and row.variant != RANDOM:
            value = at_least(value, noise.deviations.get(name))
        return percent(value)

    return Column(ACCURACIES[name], text)


def _difference(name: str, noise: Noise | None) -> Column:
    def text(row: Row) -> str:
        value = row.differences.get(name)
        if value is not None and noise is not None and name in noise.deviations:
            # Two runs contribute to a difference.
            value = at_least(value, math.sqrt(2) * noise.deviations[name])
        return percent(value, sign="+")

    return Column(f"\u0394 {ACCURACIES[name]}", text)


def percent(value: Spread | None, sign: str = "") -> str:
    """Return a spread in percent, nothing for None.

    Args:
        value: fractions, such as 0.897 and 0.006.
        sign: "+" shows the sign of positive values, too.

    Returns:
        For example `89.7 ± 0.6`.
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
    texts = []
    for record in table.records:
        # Quoted, because zsh takes brackets for a pattern.
        text = shlex.join(["skelfuse", *record.command])
        if record.experiment == table.name and text not in texts:
            texts.append(text)
    return texts


def description(table: Table) -> str:
    """Return how the table came about: trials, seeds, protocols, dates, time and versions.

    The time of a trial that was stopped in between is the time since it went on.
    """
    records = table.records
    seeds = set()
    codes: set[str] = set()
    seconds = 0
    for record in records:
        seeds.add(record.seed)
        codes.update(record.code_versions)
        seconds += record.seconds
    shown_seeds = ", ".join(map(str, sorted(seeds)))
    return (
        f"{len(records)} trials, seeds {shown_seeds}; {_protocols(records)}, "
        f"{_different(records, 'epochs')} epochs, probe {_different(records, 'probe')}, "
        "last epoch. "
        f"{_dates(records)}, {seconds / 3600:.1f} hours on {_machines(records)}; "
        f"{_versions(records)}; code {', '.join(sorted(codes))}."
    )


def _different(records: Sequence[Recorded], figure: str) -> str:
    """Return the different values of a figure, such as `40, 80 or 160`."""
    values = sorted({record.figures[figure] for record in records})
    texts = [str(value) for value in values]
    if len(texts) == 1:
        return texts[0]
    return f"{', '.join(texts[:-1])} or {texts[-1]}"


def _protocols(records: Sequence[Recorded]) -> str:
    splits = set()
    for record in records:
        figures = record.figures
        splits.add((figures["protocol"], figures["train_clips"], figures["test_clips"]))
    texts = []
    for name, train_clips, test_clips in sorted(splits):
        texts.append(f"{name} ({train_clips:,} / {test_clips:,} clips)")
    word = "protocol"
    if len(texts) > 1:
        word = "protocols"
    return f"{word} {', '.join(texts)}"


def _dates(records: Sequence[Recorded]) -> str:
    # Dates as ISO 8601 writes them sort as text.
    dates = sorted(record.date for record in records)
    if dates[0] == dates[-1]:
        return dates[0]
    return f"{dates[0]} to {dates[-1]}"


def _machines(records: Sequence[Recorded]) -> str:
    texts = []
    # By their number, so that the text does not depend on the order of the rows.
    for record in sorted(records, key=lambda record: (record.workers, record.gpu)):
        kind = "worker"
        if record.gpu:
            kind = "GPU"
        if record.workers > 1:
            kind += "s"
        text = f"{record.workers} {kind}"
        if text not in texts:
            texts.append(text)
    return " or ".join(texts)


def _versions(records: Sequence[Recorded]) -> str:
    texts = set()
    for record in records:
        versions = [f"{name} {version}" for name, version in record.versions.items()]
        texts.add(", ".join(versions))
    return "; ".join(sorted(texts))


def markdown(table: Table, image: str) -> str:
    """Return a table in Markdown, with what stands over and under it.

    Args:
        table: to show.
        image: where its plot lies, seen from the Markdown file.
    """
    paragraphs = [
        f"# {md.text(table.name)}",
        md.block(commands(table), "bash"),
        md.paragraph(description(table)),
        md.table(*cells_of(table.rows, table.noise)),
        legend(table),
        *_verdicts(table),
        md.image("linear accuracy over GFLOPs of inference", image),
    ]
    return "\n\n".join(paragraphs)


def legend(table: Table) -> str:
    """Return in Markdown what the columns of the table mean."""
    scatter = "from seed to seed"
    if table.has_splits:
        scatter += ", each on a split of its own"
    words = ""
    if RETRIEVAL_MAP in _shown(table.rows):
        words = f" {ACCURACIES[RETRIEVAL_MAP]}: mean average precision of retrieval."
    return (
        f"Accuracies in %, mean \u00b1 standard deviation {scatter}. \u0394: paired difference to "
        f"{md.code(table.reference)} over the seeds that both have, in points. `random`: the same "
        f"encoder before training. GFLOPs: of inference of one clip.{words}{_noise(table)}"
    )


def _noise(table: Table) -> str:
    """Return in Markdown which deviations are not those of seeds."""
    if table.noise is None:
        return ""
    known = []
    for name, deviation in table.noise.deviations.items():
        known.append(f"{ACCURACIES[name]} {100 * deviation:.1f}")
    return (
        " No deviation is shown smaller than that of equal runs which differ in rounding alone, as "
        f"measured with {md.code(table.noise.configuration)} on {table.noise.date} "
        f"({', '.join(known)}; \u221a2 of it for a difference)."
    )


def _verdicts(table: Table) -> list[str]:
    """Return the verdicts of a table as paragraphs of Markdown."""
    found = []
    for plan in table.plans:
        note = planned_text(table.name, plan, table.planned(plan), len(table.records))
        found += verdict_paragraphs(plan, table.judgements(plan), [note], level=2)
    return found


def replaced(text: str, part: str) -> str:
    """Return a page with its generated part replaced; what is written by hand stays.

    A page without marks gets the part at its end.
    """
    block = f"{BEGIN}\n{part}\n{END}"
    # A mark is a whole line: a name in the part may hold its text.
    pattern = rf"^{re.escape(BEGIN)}$.*?^{re.escape(END)}$"
    if re.search(pattern, text, flags=re.DOTALL | re.MULTILINE):
        # A function, because `sub` would interpret a backslash in a text.
        return re.sub(pattern, lambda _: block, text, flags=re.DOTALL | re.MULTILINE)
    if not text.strip():
        return f"{block}\n"
    return f"{text.rstrip()}\n\n{block}\n"
