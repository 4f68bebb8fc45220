"""The stage `ablate`: a table of runs, variants times seeds, that differ in one thing each.

Each cell is an ordinary run in `output/<variant>-<seed>`, and all are on the same clip store. What
a finished cell measured is a record (`pipeline.ablate.records`). Cells whose record is in the
run's own output or among the published ones, and current, are skipped. So a table can be built up
over days and on several machines.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from pipeline.ablate.cells import (
    Cell,
    Variant,
    cells,
    compose_variants,
    section,
    shared_command,
    variants_by_name,
)
from pipeline.ablate.page import print_table, write_markdown, write_pages
from pipeline.ablate.records import RECORDED, Record, read_records, write_records
from pipeline.ablate.rows import Table, flat
from pipeline.config.identity import digest
from pipeline.core.console import say
from pipeline.core.errors import ConfigError
from pipeline.runs import files
from pipeline.runs.code_version import code_version
from pipeline.runs.directory import RunDirectory
from pipeline.runs.perform import Stages, perform, summarise
from pipeline.runs.resolved import ResolvedRun, resolve
from pipeline.runs.state import OWN_STORE
from pipeline.runs.tracking import Tracker

VERSIONS = ("torch", "ray", "numpy")


def check_variants(run: ResolvedRun) -> None:
    """Make sure that every variant of a table can be built, before anything starts.

    Raises:
        ConfigError: one cannot; the message names it.
    """
    for name, config in compose_variants(run.config, run.request).items():
        try:
            resolve(config, run.request, RunDirectory(config.output))
        except ConfigError as error:
            raise ConfigError(f"ablate.variants.{name}: {error}") from None


def ablate(run: ResolvedRun, tracker: Tracker, stages: Stages) -> dict[str, Any]:
    """Run what is missing of a table, or of its variants `ablate.only`.

    Leaves in `output` the records of these cells, and the table as Markdown, plot and page.

    Args:
        run: of the table.
        tracker: its tracked run, the parent of those of the cells.
        stages: that ingest, and that make up a cell.

    Returns:
        How many cells were asked for, and means and deviations over seeds (see `flat`).

    Raises:
        ConfigError: the overrides of a variant are wrong.
        UserError: a pooled store is not there, or a file of records is damaged.
    """
    table_cells = cells(run.config, run.request)
    stages["ingest"](run, tracker)
    ablation = _Ablation.begin(run, table_cells)
    wanted = _wanted(table_cells, section(run.config).only)
    missing = ablation.missing(wanted)
    if len(missing) < len(wanted):
        say(f"  {len(wanted) - len(missing)} of {len(wanted)} cells were measured before, skipped")
    remaining = _Remaining(len(missing))
    for cell in missing:
        progress = f"  cell {remaining.position} of {remaining.total}: {cell.name}"
        if ablation.was_published_meanwhile(cell):
            say(f"{progress} was measured elsewhere meanwhile, skipped")
            remaining.skip()
            continue
        say(f"{progress}{remaining.text()}")
        started = time.monotonic()
        ablation.add(_run_cell(cell, run, tracker, stages))
        remaining.finish(time.monotonic() - started)
        write_markdown(ablation.table(), run.directory)
    ablation.save()
    table = ablation.table()
    markdown, plot, page = write_pages(table, run.directory)
    tracker.artifacts([markdown, plot, page])
    print_table(table)
    say(f"  the table: {markdown}, the plot: {plot}, both: {page}")
    return {"cells": len(wanted)} | flat(table.rows)


def _wanted(table_cells: Sequence[Cell], only: Sequence[str] | None) -> list[Cell]:
    """Return the cells to run: all of them, or those of some variants."""
    if not only:
        return list(table_cells)
    return [cell for cell in table_cells if cell.variant in only]


@dataclass
class _Ablation:
    """The records of a table while it is being run.

    Attributes:
        run: of the table.
        variants: what current records are of.
        own: the current records in the run's output.
        published: the records of the published files, by file.
    """

    run: ResolvedRun
    variants: dict[str, Variant]
    own: list[Record]
    published: dict[str, list[Record]]

    @classmethod
    def begin(cls, run: ResolvedRun, table_cells: list[Cell]) -> "_Ablation":
        """Read the records that there are."""
        splits = section(run.config).splits
        store = run.directory.state.stores[OWN_STORE]
        variants = variants_by_name(table_cells, splits, store)
        own = read_records(run.directory.path(files.RECORDS))
        ablation = cls(run, variants, own, {})
        ablation._read_published()
        return ablation

    def missing(self, wanted: Sequence[Cell]) -> list[Cell]:
        """Return the cells without a current record, and say which of them have a stale one."""
        current = {record.name for record in self.current()}
        stale = {}
        for record in [*self.own, *self._all_published()]:
            variant = self.variants.get(record.variant)
            if variant is not None and record.name not in current:
                stale[record.name] = variant.why_stale(record)
        missing = [cell for cell in wanted if cell.name not in current]
        for cell in missing:
            if cell.name in stale:
                say(f"  {cell.name}: stale, {stale[cell.name]}; run again")
        return missing

    def current(self) -> list[Record]:
        """Return the records that belong in the table: of its variants with any seed, none stale.

        Where a cell has several, the run's own comes first.
        """
        current: dict[str, Record] = {}
        for record in [*self.own, *self._all_published()]:
            variant = self.variants.get(record.variant)
            if variant is None or record.name in current:
                continue
            if variant.why_stale(record) is None:
                current[record.name] = record
        return list(current.values())

    def table(self) -> Table:
        """Return the table as it stands."""
        config = self.run.config
        return Table.of(config.name, self.current(), list(section(config).variants))

    def was_published_meanwhile(self, cell: Cell) -> bool:
        """Whether others who are at work on the same table have published this cell by now."""
        self._read_published()
        return any(record.name == cell.name for record in self.current())

    def add(self, record: Record) -> None:
        """Add the record of a cell that was run, and write the run's records."""
        self.own = [other for other in self.own if other.name != record.name]
        self.own.append(record)
        self._write(self.own)

    def save(self) -> None:
        """Write the run's records: those of its own cells, and what completes the table.

        Records that other tables have published are part of this one from now on. So a published
        table holds all that it shows.
        """
        of_this_table: list[Record] = []
        for uri in section(self.run.config).published[:1]:
            of_this_table = self.published[uri]
        completing = []
        for record in self.current():
            if record in self.own or record not in of_this_table:
                completing.append(record)
        self.own = completing
        self._write(self.own)

    def _write(self, records: Iterable[Record]) -> None:
        config = self.run.config
        uri = self.run.directory.path(files.RECORDS)
        write_records(uri, records, list(section(config).variants))

    def _read_published(self) -> None:
        for uri in section(self.run.config).published:
            self.published[uri] = read_records(uri)

    def _all_published(self) -> list[Record]:
        return [record for records in self.published.values() for record in records]


class _Remaining:
    """How long the cells that remain will take, by how long the others took.

    Attributes:
        total: the number of cells.
        position: of the cell that is next, counted from 1.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.position = 1
        self._spent: list[float] = []

    def skip(self) -> None:
        """Count a cell that took no time."""
        self.position += 1

    def finish(self, seconds: float) -> None:
        """Count a cell that took so long."""
        self.position += 1
        self._spent.append(seconds)

    def text(self) -> str:
        """Return the time that is left, nothing before the first cell is finished."""
        if not self._spent:
            return ""
        cells_left = self.total - self.position + 1
        minutes = round(sum(self._spent) / len(self._spent) * cells_left / 60)
        return f"   about {minutes // 60} h {minutes % 60:02d} min left"


def _run_cell(cell: Cell, table: ResolvedRun, tracker: Tracker, stages: Stages) -> Record:
    """Run a cell to its end, from where it was."""
    directory = _take_up(cell)
    run = resolve(cell.config, cell.request, directory)
    with Tracker(cell.config, directory, parent=tracker.run_id) as child:
        perform(stages, directory.unfinished(cell.config), run, child)
        summary = summarise(run, child)
    directory.conclude()
    state = directory.state
    pooled = [state.stores[f"pool_{number}"] for number in range(len(cell.config.data.pool))]
    return Record(
        experiment=table.config.name,
        variant=cell.variant,
        seed=cell.config.seed,
        overrides=section(table.config).variants[cell.variant],
        command=shared_command(table.config, table.request),
        hash=digest(cell.config),
        figures={key: value for key, value in summary.items() if key in RECORDED},
        versions={name: version(name) for name in VERSIONS},
        workers=cell.config.cluster.workers,
        gpu=cell.config.cluster.gpu,
        date=time.strftime("%Y-%m-%d"),
        seconds=round(sum(state.seconds.values())),
        code=code_version(),
        stores=[state.stores[OWN_STORE], *pooled],
    )


def _take_up(cell: Cell) -> RunDirectory:
    """Open the directory of a cell. A run of other settings in it is moved aside."""
    config = cell.config
    try:
        directory = RunDirectory.open(config)
    except ConfigError as error:
        say(f"  {error}: it is moved aside")
        config = config.model_copy(update={"fresh": True})
        directory = RunDirectory.open(config)
    directory.begin(config)
    return directory
