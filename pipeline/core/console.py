"""What a run says: few lines, progress of long work, and at the end what happened and where things are."""

import re
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

# Where the output is no terminal (a job's log, a pipe), progress is a line now and then.
SECONDS_A_LINE = 15

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

console = Console(highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """One line of what the run does. File names in it are untrusted: what would steer a terminal is replaced."""
    console.print(CONTROL.sub("\ufffd", text), markup=False)


def percent(share: float, form: str = ".1f") -> str:
    """Show a fraction of one in percent; `form` is a format of Python (`".1f"`: one decimal)."""
    return f"{100 * share:{form}} %"


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A small table of results."""
    drawn = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for number, column in enumerate(columns):
        drawn.add_column(column, justify="left" if number == 0 else "right")
    for row in rows:
        drawn.add_row(*row)
    console.print(drawn)


class Bar:
    """Progress of one stage: a bar in a terminal, otherwise a line every SECONDS_A_LINE with the time left.

    unit: what is counted, to show how many of them a second; None shows no speed.
    """

    def __init__(self, name: str, total: int | None = None, unit: str | None = None):
        self.name, self.total, self.done, self.unit = name, total, 0, unit
        self.started = self.printed = time.monotonic()
        self.first: int | None = None
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

    def __exit__(self, *_) -> None:
        if console.is_terminal:
            self.rich.stop()

    def update(self, done: int, total: int | None = None, text: str = "") -> None:
        """`done` of `total` are done; `text` says how it goes."""
        self.done, self.total = done, total or self.total
        now = time.monotonic()
        if (
            self.first is None
        ):  # The rate counts from the first report: start-up and resumed work are not speed.
            self.first, self.started = done, now
        if self.unit and done > self.first:
            text = f"{(done - self.first) / (now - self.started):.0f} {self.unit}/s  {text}"
        if console.is_terminal:
            self.rich.update(self.task, completed=done, total=self.total, text=text)
            return
        if now - self.printed >= SECONDS_A_LINE:
            self.printed = now
            say(f"  {self.name} {done}/{self.total}  {self._left(now)}{text}")

    def _left(self, now: float) -> str:
        made = self.done - (self.first or 0)
        if not made or not self.total:
            return ""
        seconds = (self.total - self.done) * (now - self.started) / made
        return f"{int(seconds // 60)}:{int(seconds % 60):02d} left  "
