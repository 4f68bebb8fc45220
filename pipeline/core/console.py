"""What a run says on the console: few lines, progress of long work, and a table of results."""

import re
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

# Where the output is no terminal (a job's log, a pipe), progress is a line now and then.
SECONDS_A_LINE = 15

# What would steer a terminal: all control characters but the tab and the line feed.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
REPLACEMENT = "\ufffd"

console = Console(highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """Show one line of what the run does.

    File names in it are untrusted: control characters are replaced.
    """
    console.print(CONTROL.sub(REPLACEMENT, text), markup=False)


def percent(share: float, form: str = ".1f") -> str:
    """Show a fraction of one in percent; `form` is a format of Python (`".1f"`: one decimal)."""
    return f"{100 * share:{form}} %"


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Show a small table of results; its first column names the rows."""
    drawn = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for number, column in enumerate(columns):
        drawn.add_column(column, justify="left" if number == 0 else "right")
    for row in rows:
        drawn.add_row(*row)
    console.print(drawn)


class Bar:
    """Progress of one stage: a bar in a terminal, otherwise a line every SECONDS_A_LINE.

    Args:
        name: of the stage.
        total: what there is to do, None until it is known.
        unit: what is counted, to show how many of them a second; None shows no speed.
    """

    def __init__(self, name: str, total: int | None = None, unit: str | None = None) -> None:
        self.name = name
        self.total = total
        self.unit = unit
        self.done = 0
        self.started = time.monotonic()
        self.printed = self.started
        # What was done at the first report; None before it.
        self.first: int | None = None
        self.task: TaskID | None = None
        self.rich = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:g}/{task.total:g}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}"),
            console=console,
            transient=True,
        )

    def __enter__(self) -> "Bar":
        if console.is_terminal:
            self.rich.start()
            self.task = self.rich.add_task(self.name, total=self.total or 1, text="")
        return self

    def __exit__(self, *_: object) -> None:
        if self.task is not None:
            self.rich.stop()

    def update(self, done: int, total: int | None = None, text: str = "") -> None:
        """Show that `done` of `total` are done; `text` says how it goes."""
        self.done = done
        self.total = total or self.total
        now = time.monotonic()
        if self.first is None:
            # The rate counts from the first report: start-up and resumed work are not speed.
            self.first = done
            self.started = now
        if self.unit and done > self.first:
            rate = (done - self.first) / (now - self.started)
            text = f"{rate:.0f} {self.unit}/s  {text}"
        if self.task is not None:
            self.rich.update(self.task, completed=done, total=self.total, text=text)
        elif now - self.printed >= SECONDS_A_LINE:
            self.printed = now
            say(f"  {self.name} {done}/{self.total}  {self._left(now)}{text}")

    def _left(self, now: float) -> str:
        """Return the time left in words, nothing where it cannot be known yet."""
        made = self.done - (self.first or 0)
        if not made or not self.total:
            return ""
        seconds = int((self.total - self.done) * (now - self.started) / made)
        return f"{seconds // 60}:{seconds % 60:02d} left  "
