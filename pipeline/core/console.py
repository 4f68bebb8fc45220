"""What a run shows on the console: short lines, progress bars, and a table of results."""

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from pipeline.core.shown_text import one_line

# If the output is not a terminal (a job's log, a pipe), a bar cannot be redrawn. Progress is then
# printed as one line every so many seconds.
SECONDS_A_LINE = 15
# So many letters of the names in a table are shown, however many columns there are.
LEAST_NAME = 16

# Names are shown as they are: neither `[red]` nor `:smile:` in them means anything.
console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)


def say(text: str) -> None:
    """Show one line about what the run does, without secrets and control characters.

    The text may contain file names that others chose.
    """
    console.print(Text(one_line(text)))


def complain(text: str) -> None:
    """Show one line on stderr, without secrets and control characters."""
    print(one_line(text), file=sys.stderr, flush=True)


def percent(share: float, form: str = ".1f") -> str:
    """Return a fraction as percent.

    Args:
        share: a fraction, 0 to 1.
        form: a format of Python; `".1f"` shows one decimal.

    Example: `percent(0.5)` returns `"50.0 %"`.
    """
    return f"{100 * share:{form}} %"


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Show a small table of results.

    Args:
        title: of the table.
        columns: the headings of the C columns.
        rows: C cells each, as text. The first cell names the row.
    """
    drawn = Table(title=_cell(title), title_justify="left", box=None, pad_edge=False)
    # The first column holds names, the others numbers. Many columns must not squeeze the names.
    longest = max((len(row[0]) for row in rows), default=0)
    least = min(longest, LEAST_NAME)
    # Where there is no room for a cell, it goes on in the next line: an end of it that is cut off
    # may be the one that matters.
    drawn.add_column(_cell(columns[0]), justify="left", overflow="fold", min_width=least)
    for column in columns[1:]:
        drawn.add_column(_cell(column), justify="right", overflow="fold")
    for row in rows:
        drawn.add_row(*map(_cell, row))
    console.print(drawn)


def _cell(text: str) -> Text:
    """Return a text for a table. Plain strings would be read as markup there."""
    return Text(one_line(text))


class Bar:
    """The progress of one stage: a bar in a terminal, otherwise a line every SECONDS_A_LINE.

    Args:
        name: of the stage.
        total: the amount of work, None until it is known.
        unit: what is counted (`"clips"`), to show a speed (`clips/s`). None shows no speed.
    """

    def __init__(self, name: str, total: int | None = None, unit: str | None = None) -> None:
        self.name = one_line(name)
        self.total = total
        self.unit = unit
        self.done = 0
        self.started = time.monotonic()
        self.last_printed = self.started
        # How much was done at the first report; None before the first report.
        self.done_at_first: int | None = None
        # None if the output is not a terminal.
        self.task: TaskID | None = None
        self.display = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:g}/{task.total:g}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}", markup=False),
            console=console,
            transient=True,
        )

    def __enter__(self) -> "Bar":
        if console.is_terminal:
            self.display.start()
            self.task = self.display.add_task(self.name, total=self.total or 1, text="")
        return self

    def __exit__(self, *_: object) -> None:
        if self.task is not None:
            self.display.stop()

    def update(self, done: int, total: int | None = None, text: str = "") -> None:
        """Show that `done` of `total` are done.

        Args:
            done: the work done so far, including work that an earlier run did.
            total: the amount of work, None if it is as before.
            text: further figures to show beside the bar.
        """
        self.done = done
        self.total = total or self.total
        now = time.monotonic()
        if self.done_at_first is None:
            # Speed is measured from the first report on. Start-up, and work that an earlier run
            # did, would distort it.
            self.done_at_first = done
            self.started = now
        if self.unit and done > self.done_at_first:
            speed = (done - self.done_at_first) / (now - self.started)
            text = f"{speed:.0f} {self.unit}/s  {text}"
        if self.task is not None:
            shown = one_line(text)
            self.display.update(self.task, completed=done, total=self.total, text=shown)
        elif now - self.last_printed >= SECONDS_A_LINE:
            self.last_printed = now
            say(f"  {self.name} {done}/{self.total}  {self._time_left(now)}{text}")

    def _time_left(self, now: float) -> str:
        """Return the estimated time left, such as `1:05 left`, or nothing if it is unknown."""
        done_here = self.done - (self.done_at_first or 0)
        if not done_here or not self.total:
            return ""
        seconds = int((self.total - self.done) * (now - self.started) / done_here)
        return f"{seconds // 60}:{seconds % 60:02d} left  "
