"""A comparison of runs: one interactive page, files of the same figures, and a console table."""

import base64
import hashlib
import html
from collections.abc import Sequence
from functools import cache
from importlib import resources
from string import Template

from plotly.offline import get_plotlyjs

from pipeline.core import console, storage
from pipeline.core.shown_text import one_line
from pipeline.runs import files
from pipeline.runs.metric_names import GFLOPS, is_accuracy
from pipeline.tables.compared import (
    SECONDS,
    ComparedRun,
    better,
    by_group,
    chosen_figure,
    differing,
    figure_names,
    is_cost,
    is_real,
    label,
)
from pipeline.tables.export import to_csv, to_parquet
from pipeline.tables.page_data import page_data, setting_text, short_names, to_script
from pipeline.tables.rows import spread
from pipeline.tables.text import percent

# In this order they are one script.
SCRIPTS = ("rows.js", "colours.js", "table.js", "parallel.js", "charts.js", "page.js")
FORMS = ("csv", "parquet")
# The console shows so many rows, figures and parameters; the page has all of them.
CONSOLE_ROWS = 20
CONSOLE_FIGURES = 2
CONSOLE_PARAMETERS = 5
# A longer value of a parameter is cut on the console.
CONSOLE_TEXT = 16


def write_comparison(
    runs: Sequence[ComparedRun],
    place: str,
    title: str,
    *,
    about: str = "",
    figure: str | None = None,
    reference: str | None = None,
    forms: Sequence[str] = FORMS,
) -> list[str]:
    """Write the page of a comparison and the files of its figures.

    Args:
        runs: at least one.
        place: the directory to write into. Links of runs are seen from there.
        title: of the page.
        about: a sentence under the title.
        figure: by which runs are compared first; None for the one that matters most.
        reference: the group that the others are compared with at first; None for none.
        forms: of FORMS, the files to write beside the page.

    Returns:
        Where the files lie, the page first.
    """
    contents = {files.COMPARISON: page(runs, title, about, figure, reference)}
    if "csv" in forms:
        contents[files.COMPARISON_CSV] = to_csv(runs)
    if "parquet" in forms:
        contents[files.COMPARISON_PARQUET] = to_parquet(runs)
    uris = []
    for name, data in contents.items():
        uri = storage.join(place, name)
        storage.write_bytes(uri, data)
        uris.append(uri)
    return uris


def page(
    runs: Sequence[ComparedRun],
    title: str,
    about: str = "",
    figure: str | None = None,
    reference: str | None = None,
) -> bytes:
    """Return the page of a comparison. It holds all that it shows, and sends no request.

    The browser runs only the two scripts whose hashes the page's policy names, so that no text of
    a run can become one. Arguments: see `write_comparison`.
    """
    plotly = get_plotlyjs()
    script = _script()
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data: blob:; "
        f"style-src 'unsafe-inline'; script-src {_plotly_hash()} {_hash(script)}"
    )
    text = Template(_asset("comparison.html")).substitute(
        policy=policy,
        title=html.escape(one_line(title)),
        about=html.escape(one_line(about)),
        style=_asset("comparison.css"),
        data=to_script(page_data(runs, figure, reference)),
        plotly=plotly,
        script=script,
    )
    return text.encode()


def print_comparison(runs: Sequence[ComparedRun], title: str, figure: str | None = None) -> None:
    """Print the best groups of a comparison: their figures, their costs, and what differs."""
    figure = chosen_figure(runs, figure)
    figures = _console_figures(runs, figure)
    differ = differing(runs)
    groups = by_group(runs)
    has_states = any(run.state != "finished" for run in runs)
    header, body = ["", *map(label, figures)], []
    names = _best_first(groups, figure)
    for name in names[:CONSOLE_ROWS]:
        body.append([name, *[_figure(groups[name], measured) for measured in figures]])
    if has_states:
        header.append("state")
        for row in body:
            row.append(_states(groups[row[0]]))
    labels = short_names(differ)
    for key in differ[:CONSOLE_PARAMETERS]:
        header.append(labels[key])
        for row in body:
            row.append(_setting(groups[row[0]], key))
    console.table(title, header, body)
    if len(names) > CONSOLE_ROWS:
        console.say(f"  and {len(names) - CONSOLE_ROWS} more")
    if len(differ) > CONSOLE_PARAMETERS:
        console.say(f"  {len(differ)} parameters differ, also: {_listed(differ)}")


def _listed(differ: Sequence[str]) -> str:
    """Return the keys that the console has no column for, some of them if there are many."""
    rest = differ[CONSOLE_PARAMETERS:]
    text = ", ".join(rest[:CONSOLE_ROWS])
    return f"{text}, ..." if len(rest) > CONSOLE_ROWS else text


def _states(members: Sequence[ComparedRun]) -> str:
    """Return the state of a group as text: the one of all its runs, or how many are finished."""
    states = {run.state for run in members}
    if len(states) == 1:
        return members[0].state
    finished = [run for run in members if run.state == "finished"]
    return f"{len(finished)} of {len(members)}"


def _console_figures(runs: Sequence[ComparedRun], figure: str | None) -> list[str]:
    """Return the figures and costs that the console shows, the chosen one first."""
    present = figure_names(runs)
    chosen = [figure] if figure is not None else []
    for name in present:
        if not is_cost(name) and name not in chosen and len(chosen) < CONSOLE_FIGURES:
            chosen.append(name)
    return [*chosen, *[name for name in (GFLOPS, SECONDS) if name in present]]


def _best_first(groups: dict[str, list[ComparedRun]], figure: str | None) -> list[str]:
    """Return the names of the groups by their mean of a figure.

    Groups without a finished run come after the others: their figures are of an earlier epoch.
    Those without the figure come last.
    """
    if figure is None:
        return list(groups)
    sign = 1 if better(figure) == "min" else -1

    def key(name: str) -> tuple[bool, bool, float]:
        values = _values(groups[name], figure)
        if not values:
            return True, True, 0.0
        is_finished = any(run.state == "finished" for run in groups[name])
        return False, not is_finished, sign * spread(values).mean

    return sorted(groups, key=key)


def _values(members: Sequence[ComparedRun], figure: str) -> list[float]:
    """Return a figure of the finished runs of a group; of all runs if none is finished."""
    measured = [run for run in members if is_real(run.figures.get(figure))]
    finished = [run for run in measured if run.state == "finished"]
    return [run.figures[figure] for run in finished or measured]


def _figure(members: Sequence[ComparedRun], figure: str) -> str:
    """Return a figure of a group as text: its mean, and its deviation over seeds."""
    values = _values(members, figure)
    if not values:
        return ""
    measured = spread(values)
    if is_accuracy(figure):
        return percent(measured)
    if measured.mean >= 1e6:
        return f"{measured.mean / 1e6:.2f} M"
    if is_cost(figure) or not measured.deviation:
        return f"{measured.mean:.3g}"
    return f"{measured.mean:.3g} \u00b1 {measured.deviation:.1g}"


def _setting(members: Sequence[ComparedRun], key: str) -> str:
    """Return a parameter of a group as text."""
    texts = []
    for run in members:
        value = run.parameters.get(key, "")
        text = f"{value:.3g}" if isinstance(value, float) else setting_text(value)
        if text not in texts:
            texts.append(text)
    if len(texts) > 1:
        return "several"
    if len(texts[0]) > CONSOLE_TEXT:
        return f"{texts[0][: CONSOLE_TEXT - 1]}\u2026"
    return texts[0]


@cache
def _asset(name: str) -> str:
    return (resources.files("pipeline.tables") / "assets" / name).read_text(encoding="utf-8")


@cache
def _script() -> str:
    return "\n".join(map(_asset, SCRIPTS))


@cache
def _plotly_hash() -> str:
    return _hash(get_plotlyjs())


def _hash(script: str) -> str:
    """Return the hash of an inline script, as a Content Security Policy names it."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
