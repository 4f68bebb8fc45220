"""The stage `ablate`: a table of runs, variants times seeds, that differ in one thing each.

Each cell is an ordinary run in `output/<variant>-<seed>`, and all are on the same clip store. What
a finished cell measured is a record (`pipeline.sweep.records`). Cells whose record is in the
run's own output or among the published ones, and current, are skipped. So a table can be built up
over days and on several machines.
"""

import time
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from pipeline.config.identity import digest
from pipeline.core.console import say
from pipeline.core.errors import ConfigError, UserError
from pipeline.runs.code_version import UNKNOWN
from pipeline.runs.directory import RunDirectory
from pipeline.runs.owner import Ownership, take
from pipeline.runs.perform import Stages, perform, summarise
from pipeline.runs.resolved import ResolvedRun, resolve
from pipeline.runs.state import OWN_STORE, RunState
from pipeline.sweep.cells import (
    Cell,
    cells,
    compose_variants,
    section,
    shared_command,
    variants_by_name,
)
from pipeline.sweep.measured import Measured
from pipeline.sweep.records import CODE_SEPARATOR, RECORDED, Record
from pipeline.tables.page import print_table, write_markdown, write_pages
from pipeline.tables.rows import flat

if TYPE_CHECKING:  # MLflow takes more than a second to import.
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


def ablate(run: ResolvedRun, tracker: "Tracker", stages: Stages) -> dict[str, Any]:
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
    # One clip store for all cells.
    stages["ingest"](run, tracker)
    measured = _measured(run, table_cells)
    wanted = _wanted(table_cells, section(run.config).only)
    missing = measured.missing(wanted)
    if len(missing) < len(wanted):
        say(f"  {len(wanted) - len(missing)} of {len(wanted)} cells were measured before, skipped")
    remaining = _Remaining(len(missing))
    for cell in missing:
        progress = f"  cell {remaining.position} of {remaining.total}: {cell.name}"
        # Others may be at work on the same table.
        measured.read_published()
        if cell.name in measured.current():
            say(f"{progress} was measured elsewhere meanwhile, skipped")
            remaining.skip()
            continue
        say(f"{progress}{remaining.text()}")
        started = time.monotonic()
        measured.add(_run_cell(cell, run, tracker, stages))
        remaining.finish(time.monotonic() - started)
        # Only the text: the plot and the page take longer, and nobody looks at them yet.
        write_markdown(measured.table(), run.directory.uri)
    # The table may show records of others, and so more than this run was asked for.
    measured.complete()
    table = measured.table()
    markdown, plot, page = write_pages(table, run.directory.uri)
    tracker.artifacts([markdown, plot, page])
    print_table(table)
    say(f"  the table: {markdown}, the plot: {plot}, both: {page}")
    return {"cells": len(wanted)} | flat(table.rows)


def _wanted(table_cells: Sequence[Cell], only: Sequence[str] | None) -> list[Cell]:
    """Return the cells to run: all of them, or those of some variants."""
    if not only:
        return list(table_cells)
    return [cell for cell in table_cells if cell.variant in only]


def _measured(run: ResolvedRun, table_cells: list[Cell]) -> Measured:
    """Return what is measured of a table so far, by this run and by others."""
    ablate = section(run.config)
    store = run.directory.state.stores[OWN_STORE]
    measured = Measured(
        name=run.config.name,
        output=run.directory.uri,
        published_uris=ablate.published,
        variants=variants_by_name(table_cells, ablate.splits, store),
    )
    measured.read()
    return measured


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


def _run_cell(cell: Cell, table: ResolvedRun, tracker: "Tracker", stages: Stages) -> Record:
    """Run a cell to its end, from where it was."""
    with _own(cell) as owner:
        directory = _take_up(cell, owner)
        run = resolve(cell.config, cell.request, directory)
        with tracker.child(cell.config, directory) as child:
            perform(stages, directory.unfinished(cell.config), run, child)
            summary = summarise(run, child)
        directory.conclude()
    figures = {}
    for key, value in summary.items():
        if key in RECORDED:
            figures[key] = value
    return Record(
        experiment=table.config.name,
        variant=cell.variant,
        seed=cell.config.seed,
        overrides=section(table.config).variants[cell.variant],
        command=shared_command(table.config, table.request),
        hash=digest(cell.config),
        figures=figures,
        versions={name: version(name) for name in VERSIONS},
        workers=cell.config.cluster.workers,
        gpu=cell.config.cluster.gpu,
        date=time.strftime("%Y-%m-%d"),
        seconds=round(sum(directory.state.seconds.values())),
        code=_code(directory.state),
        stores=_stores(directory.state, pooled=len(cell.config.data.pool)),
    )


def _code(state: RunState) -> str:
    """Return the versions of the code that finished a run's stages, each version once.

    A cell that was finished earlier, and whose record is only written now, was measured by the
    code of that time.
    """
    versions = []
    for stage in state.stages:
        code = state.code.get(stage, UNKNOWN)
        if code not in versions:
            versions.append(code)
    return CODE_SEPARATOR.join(versions)


def _stores(state: RunState, pooled: int) -> list[str]:
    """Return the fingerprints of a run's clip store and of those that it pools."""
    stores = [state.stores[OWN_STORE]]
    for number in range(pooled):
        stores.append(state.stores[f"pool_{number}"])
    return stores


def _own(cell: Cell) -> Ownership:
    """Become the owner of a cell's directory. Somebody may run the cell alone at the moment."""
    try:
        return take(cell.config.output)
    except ConfigError as error:
        # The table was begun already.
        raise UserError(str(error)) from None


def _take_up(cell: Cell, owner: Ownership) -> RunDirectory:
    """Open the directory of a cell. A run of other settings in it is moved aside."""
    config = cell.config
    # The variant may have meant something else when the cell was begun.
    try:
        directory = RunDirectory.open(config)
    except ConfigError as error:
        say(f"  {error}: it is moved aside")
        config = config.model_copy(update={"fresh": True})
        directory = RunDirectory.open(config)
    directory.begin(config, owner)
    return directory
