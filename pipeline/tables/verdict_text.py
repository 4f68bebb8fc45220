"""Verdicts as text: their columns, what they mean, and the Markdown of both."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from pipeline.config.verdict import Verdict
from pipeline.core import console
from pipeline.pages import markdown as md
from pipeline.runs.metric_names import ACCURACIES
from pipeline.tables.bootstrap import DRAWS, Interval
from pipeline.tables.verdicts import ALL, DataResult, Judgement, Plan

# So many missing measurements are named, and the others counted.
NAMED = 8


class _Line(NamedTuple):
    """A row of the table of verdicts: all data sets together, or one of several."""

    metric: str
    result: DataResult
    finding: str


def question(verdict: Verdict, against: str) -> str:
    """Return the title of a table of verdicts."""
    return f"Is {verdict.variant} better than {against}?"


def verdict_cells(
    verdict: Verdict, against: str, judgements: Sequence[Judgement]
) -> tuple[list[str], list[list[str]]]:
    """Return header and cells of a table of verdicts.

    Args:
        verdict: what was asked.
        against: one of the variants that another one is compared with.
        judgements: of all of them.

    Returns:
        The titles, and the text of every row. Figures are in percent, differences in points.
    """
    columns: dict[str, Callable[[_Line], str]] = {
        "data": lambda line: line.result.name,
        "figure": lambda line: ACCURACIES[line.metric],
        "people": lambda line: str(line.result.people),
        verdict.variant: lambda line: _percent(line.result.variant),
        against: lambda line: _percent(line.result.against),
        "random": lambda line: _percent(line.result.random),
        "\u0394": lambda line: f"{100 * line.result.difference:+.1f}",
        "95 %": lambda line: _ends(line.result.interval),
        "verdict": lambda line: line.finding,
    }
    rows = []
    for judgement in judgements:
        if judgement.against != against:
            continue
        if judgement.pooled is None:
            blanks = [""] * (len(columns) - 3)
            rows.append([ALL, ACCURACIES[judgement.metric], *blanks, judgement.finding])
            continue
        for line in _lines(judgement, judgement.pooled):
            rows.append([text(line) for text in columns.values()])
    return list(columns), rows


def _lines(judgement: Judgement, pooled: DataResult) -> list[_Line]:
    metric = judgement.metric
    # One data set alone is the whole.
    if len(judgement.by_data) == 1:
        return [_Line(metric, judgement.by_data[0], judgement.finding)]
    lines = [_Line(metric, pooled, judgement.finding)]
    for result in judgement.by_data:
        lines.append(_Line(metric, result, ""))
    return lines


def _percent(value: float | None) -> str:
    if value is None:
        return ""
    return f"{100 * value:.1f}"


def _ends(interval: Interval | None) -> str:
    if interval is None:
        return "one person"
    return f"{100 * interval.low:+.1f} to {100 * interval.high:+.1f}"


def missing_text(judgements: Sequence[Judgement]) -> str | None:
    """Return what was not measured, counted and named; None if nothing is missing."""
    missing = list(dict.fromkeys(name for judgement in judgements for name in judgement.missing))
    if not missing:
        return None
    text = f"{len(missing)} measurements are missing: {', '.join(missing[:NAMED])}"
    if len(missing) > NAMED:
        text += f" and {len(missing) - NAMED} more"
    return text


def verdict_legend(verdict: Verdict) -> str:
    """Return in Markdown what the columns mean, and how the verdict follows from them."""
    return (
        f"In %; every person counts alike. random: {md.code(verdict.variant)} before training. "
        "\u0394, in points, is paired by seed and test person: differences are averaged over seeds "
        "and splits for each person, and then over people. 95 %: the interval of a bootstrap over "
        f"people, drawn within each data set ({DRAWS:,} draws). better: the interval lies above 0, "
        "and that of no data set lies below. worse: the opposite. incomplete: something was not "
        "measured."
    )


def planned_text(table: str, plan: Plan, planned: int, trials: int) -> str:
    """Return by which trials a table is judged, and when that was planned.

    Args:
        table: its name.
        plan: of the table.
        planned: how many trials began when the plan had been made.
        trials: of the table in all.
    """
    judged = f"seeds {', '.join(map(str, plan.seeds))}"
    if plan.except_people:
        people = ", ".join(map(str, plan.except_people))
        judged += f"; without people {people}, on whom settings were chosen"
    return (
        f"{table}: {judged}. This comparison stood in the file of the table before {planned} "
        f"of {trials} trials were run."
    )


def verdict_paragraphs(
    verdict: Verdict, judgements: Sequence[Judgement], notes: Sequence[str], level: int
) -> list[str]:
    """Return verdicts as paragraphs of Markdown.

    Args:
        verdict: what was asked.
        judgements: the answers.
        notes: see `planned_text`.
        level: of the headings.
    """
    found = []
    for against in verdict.against:
        found.append(f"{'#' * level} {md.text(question(verdict, against))}")
        found.append(md.table(*verdict_cells(verdict, against, judgements)))
    missing = missing_text(judgements)
    if missing is not None:
        found.append(md.paragraph(missing))
    found.append(verdict_legend(verdict))
    found += map(md.paragraph, notes)
    return found


def print_verdicts(verdict: Verdict, judgements: Sequence[Judgement]) -> None:
    """Print verdicts on the console."""
    for against in verdict.against:
        title = question(verdict, against)
        console.table(title, *verdict_cells(verdict, against, judgements))
    missing = missing_text(judgements)
    if missing is not None:
        console.say(f"  {missing}")
