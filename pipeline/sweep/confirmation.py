"""Confirming the winner of a search: the winner and the settings without a search, with new seeds.

First both are run on the choosing protocol, whose people held out the search has looked at. Then
they are run on `data.protocol`, whose test side nobody has looked at:

    held_out_default-1  held_out_best-1  held_out_default-2  ...  default-1  best-1  default-2  ...

The seeds are none of the search's: the winner was chosen partly because these suited it.
"""

import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.config.identity import digest
from pipeline.core import console, storage
from pipeline.core.console import say
from pipeline.pages import markdown as md
from pipeline.runs import files
from pipeline.runs.resolved import ResolvedRun
from pipeline.sweep.compose import MEASURED, compose_trial, settings_of
from pipeline.sweep.points import Point
from pipeline.sweep.space import overrides_of
from pipeline.sweep.trial import Trial, TrialRecord
from pipeline.sweep.winner import BEST
from pipeline.tables.rows import flat, rows_of
from pipeline.tables.text import cells_of

# The settings of the search without a point.
DEFAULT = "default"
# What the groups on the choosing protocol begin with.
HELD_OUT_GROUPS = "held_out_"
# What the results begin with.
RESULTS = "confirmed_"


@dataclass(frozen=True)
class _Confirmed:
    """A finished trial as a table takes it."""

    variant: str
    seed: int
    figures: dict[str, Any]


class Confirmation:
    """The source of the trials that confirm a winner.

    Args:
        sweep: the run of the search.
        point: the winner.
        choosing: what makes a trial one on the choosing protocol (`choosing_overrides`). Without
            any there is no such protocol, and all trials are on `data.protocol`.
        records: of trials that were begun earlier.

    Attributes:
        total: how many trials are left to run.
    """

    def __init__(
        self,
        sweep: ResolvedRun,
        point: Point,
        choosing: Sequence[str],
        records: Sequence[TrialRecord],
    ) -> None:
        known = {record.name: record for record in records}
        self._sweep = sweep
        self._point = point
        self._records: dict[str, TrialRecord] = {}
        self._missing: deque[Trial] = deque()
        for trial in _trials(sweep, point, choosing):
            record = known.get(trial.name)
            # Another point may have won before.
            is_current = record is not None and record.hash == digest(trial.config)
            if record is not None and is_current and record.state in ("finished", "stopped"):
                self._records[trial.name] = record
            else:
                self._missing.append(trial)
        self.total = len(self._missing)

    def next_trial(self) -> Trial | None:
        """Return the next trial to run, None if none is left."""
        if not self._missing:
            return None
        return self._missing.popleft()

    def ended(self, record: TrialRecord) -> None:
        """Take note of a trial that has ended."""
        self._records[record.name] = record

    def finish(self) -> dict[str, float]:
        """Show the tables, and write them into `confirmed.md`.

        Returns:
            Flat results (see `pipeline.tables.rows.flat`): those on the test side begin with
            `confirmed_`, those of the people held out with `confirmed_held_out_`.
        """
        results = {}
        lines = self._introduction()
        for prefix, title in ((HELD_OUT_GROUPS, "people held out"), ("", "test side")):
            rows = rows_of(self._finished(prefix), [DEFAULT, BEST])
            if not rows:
                continue
            header, body = cells_of(rows)
            console.table(f"{self._sweep.config.name}: the winner on the {title}", header, body)
            lines += ["", f"## On the {title}", "", md.table(header, body)]
            for key, value in flat(rows).items():
                results[f"{RESULTS}{prefix}{key}"] = value
        for record in self._records.values():
            if record.state != "finished":
                said = f"{record.name}: not in the table ({record.state}: {record.reason})"
                say(f"  {said}")
                lines += ["", md.text(said)]
        place = storage.join(self._sweep.config.output, files.CONFIRMED)
        storage.write_bytes(place, "\n".join([*lines, ""]).encode())
        return results

    def _introduction(self) -> list[str]:
        """Return the first lines of the page."""
        name = self._sweep.config.name
        protocol = self._sweep.config.data.protocol
        winner = ", ".join(overrides_of(self._point.params))
        return [
            f"# {md.text(f'The winner of {name}')}",
            "",
            f"`{DEFAULT}` has the settings that the search began with. `{BEST}` is "
            f"{self._point.name}:",
            f"{md.code(winner)}.",
            "The seeds are none of the search's. Differences are paired by seed.",
            f"The test side is that of {md.code(protocol)}.",
        ]

    def _finished(self, prefix: str) -> list[_Confirmed]:
        """Return the finished trials whose groups begin with a prefix, called without it."""
        groups = {f"{prefix}{group}": group for group in (DEFAULT, BEST)}
        finished = []
        for record in self._records.values():
            if record.state == "finished" and record.group in groups:
                group = groups[record.group]
                finished.append(_Confirmed(group, record.seed, record.figures))
        return finished


def fresh_seeds(used: Sequence[int], count: int) -> list[int]:
    """Return the first seeds, so many of them, that were not used."""
    unused = (seed for seed in itertools.count() if seed not in used)
    return list(itertools.islice(unused, count))


def _trials(sweep: ResolvedRun, point: Point, choosing: Sequence[str]) -> list[Trial]:
    """Return all trials of a confirmation, in the order in which they are run."""
    settings = settings_of(sweep.config)
    protocols = [("", list[str]())]
    if choosing:
        protocols.insert(0, (HELD_OUT_GROUPS, list(choosing)))
    trials = []
    for prefix, protocol in protocols:
        for seed in fresh_seeds(settings.seeds, settings.confirm):
            for group, params in ((DEFAULT, {}), (BEST, point.params)):
                overrides = [*protocol, *overrides_of(params)]
                trial = compose_trial(
                    sweep, f"{prefix}{group}", seed, overrides, params=params, stages=MEASURED
                )
                trials.append(trial)
    return trials
