"""Verdicts as text: their columns, what they mean, and the Markdown of both."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from pipeline.config.verdict import Verdict
from pipeline.core import console
from pipeline.pages import markdown as md
from pipeline.runs.metric_names import ACCURACIES
from pipeline.tables.bootstrap import DRAWS, Interval
from pipeline.tables.verdicts import DataResult, Judgement, Plan

# So many missing measurements are named, and the others counted.
NAMED = 8


class _Line(NamedTuple):
    """A row of the table of verdicts: all data sets together, or one of several."""

    judgement: Judgement
    result: DataResult
    finding: str


def question(verdict: Verdict) -> str:
    """Return the title of verdicts."""
    return f"Is {verdict.variant} better?"


def verdict_cells(
    verdict: Verdict, judgements: Sequence[Judgement]
) -> tuple[list[str], list[list[str]]]:
    """Return header and cells of the table of verdicts.

    Args:
        verdict: what was asked.
        judgements: the answers.

    Returns:
        The titles, and the text of every row. Figures are in percent, differences in points.
    """
    columns: dict[str, Callable[[_Line], str]] = {
        f"{verdict.variant} against": lambda line: line.judgement.against,
        "figure": lambda line: ACCURACIES[line.judgement.metric],
        "data": lambda line: line.result.name,
        "people": lambda line: str(line.result.people),
        verdict.variant: lambda line: _percent(line.result.variant),
        "the other": lambda line: _percent(line.result.against),
        "random": lambda line: _percent(line.result.random),
        "\u0394": lambda line: f"{100 * line.result.difference:+.1f}",
        "95 % interval": lambda line: _ends(line.result.interval),
        "verdict": lambda line: line.finding,
    }
    rows = []
    for judgement in judgements:
        if judgement.pooled is None:
            blanks = [""] * (len(columns) - 3)
            names = [judgement.against, ACCURACIES[judgement.metric]]
            rows.append([*names, *blanks, judgement.finding])
            continue
        for line in _lines(judgement, judgement.pooled):
            rows.append([text(line) for text in columns.values()])
    return list(columns), rows


def _lines(judgement: Judgement, pooled: DataResult) -> list[_Line]:
    # One data set alone is the whole.
    if len(judgement.by_data) == 1:
        return [_Line(judgement, judgement.by_data[0], judgement.finding)]
    lines = [_Line(judgement, pooled, judgement.finding)]
    for result in judgement.by_data:
        lines.append(_Line(judgement, result, ""))
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
        f"Means over trials in %; random: {md.code(verdict.variant)} before training. \u0394, in "
        "points, is paired by seed and test person: differences are averaged over seeds and splits "
        "for each person, and then over people. The interval is that of a bootstrap over people "
        f"within each data set ({DRAWS:,} draws). better: the interval lies above 0, and that of "
        "no data set lies below. worse: the opposite. incomplete: something was not measured."
    )


def planned_text(plan: Plan, planned: int, trials: int) -> str:
    """Return when a plan was made.

    Args:
        plan: of a table.
        planned: how many trials were run after the plan had been made.
        trials: of the table in all.
    """
    seeds = ", ".join(map(str, plan.seeds))
    return (
        f"seeds {seeds}; the comparison stood in the file of the table before {planned} of "
        f"{trials} trials were run."
    )


def verdict_paragraphs(verdict: Verdict, judgements: Sequence[Judgement]) -> list[str]:
    """Return verdicts as paragraphs of Markdown."""
    found = [md.table(*verdict_cells(verdict, judgements))]
    missing = missing_text(judgements)
    if missing is not None:
        found.append(md.paragraph(missing))
    found.append(verdict_legend(verdict))
    return found


def page(verdict: Verdict, judgements: Sequence[Judgement], notes: Sequence[str]) -> str:
    """Return the verdicts of several tables as a page of Markdown.

    Args:
        verdict: what was asked.
        judgements: the answers.
        notes: a paragraph for each table.
    """
    heading = f"# {md.text(question(verdict))}"
    found = [heading, *verdict_paragraphs(verdict, judgements), *map(md.paragraph, notes)]
    return "\n\n".join(found) + "\n"


def print_verdicts(verdict: Verdict, judgements: Sequence[Judgement]) -> None:
    """Print verdicts on the console."""
    console.table(question(verdict), *verdict_cells(verdict, judgements))
    missing = missing_text(judgements)
    if missing is not None:
        console.say(f"  {missing}")
