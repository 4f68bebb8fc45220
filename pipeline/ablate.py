"""The stage `ablate`: a table of runs, variants times seeds, that differ in nothing but what the table is about.

Each cell is an ordinary run in `output/<variant>-<seed>` on the one clip store of all. What a finished cell measured
lies in `ablate.results` as a small file of its own; cells whose file is there and current are skipped, so that a table
can be built up over days and on several machines.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from pipeline import results, storage
from pipeline.build import check_models
from pipeline.config import Config, check, digest, load
from pipeline.console import say, table
from pipeline.errors import ConfigError
from pipeline.perform import Stages, perform, summarise
from pipeline.rundir import RunDir, settle_places
from pipeline.tracking import Tracker, code_version

VERSIONS = ("torch", "ray", "numpy")


@dataclass(frozen=True)
class Cell:
    variant: str
    config: Config

    @property
    def name(self) -> str:
        return self.config.name


def variants(config: Config) -> dict[str, Config]:
    """The configuration of every variant: what the run was asked for, and the variant's overrides after it.

    Raises ConfigError naming a variant that cannot work.
    """
    composed = {}
    for name, overrides in config.ablate.variants.items():
        try:
            composed[name] = load([*config.ablate.command, *overrides], config.ablate.config_dir)
            check_models(composed[name])
        except ConfigError as error:
            raise ConfigError(f"ablate.variants.{name}: {error}") from None
    return composed


def cells(config: Config) -> list[Cell]:
    """The cells of the table, seed by seed: after the first seed there is a whole table already."""
    composed = variants(config)
    return [_cell(config, name, base, seed) for seed in config.ablate.seeds for name, base in composed.items()]


def _cell(config: Config, variant: str, base: Config, seed: int) -> Cell:
    name = f"{variant}-{seed}"
    values = base.model_dump()
    values |= {
        "name": name,
        "seed": seed,
        "stages": ["pretrain", "evaluate"],
        "output": storage.join(config.output, name),
        "fresh": False,
        "ablate": None,
        "tracking": config.tracking.model_dump(),
    }
    values["data"]["store"] = config.store
    return Cell(variant, settle_places(check(values)))


def ablate(config: Config, run: RunDir, tracker: Tracker, stages: Stages) -> dict[str, Any]:
    """Run what is missing of the table; returns means and deviations over seeds, `<variant>_<figure>`.

    Leaves `<variant>-<seed>.json` in `ablate.results`, and after each cell the table as it stands: in `ablate.page` and
    in `output` with its plot.
    """
    table_cells = cells(config)
    stages["ingest"](config, run, tracker)
    found = results.read(config.ablate.results)
    missing = [cell for cell in table_cells if not _is_current(found.get(cell.name), cell)]
    if len(missing) < len(table_cells):
        say(f"  {len(table_cells) - len(missing)} of {len(table_cells)} cells are in {config.ablate.results}, skipped")
    spent = []
    for number, cell in enumerate(missing, 1):
        found = results.read(config.ablate.results)
        if _matches(found.get(cell.name), cell):
            say(f"  cell {number} of {len(missing)}: {cell.name} was measured elsewhere meanwhile, skipped")
            continue
        say(f"  cell {number} of {len(missing)}: {cell.name}{_left(spent, len(missing) - number + 1)}")
        started = time.monotonic()
        record = _run(cell, config, tracker, stages)
        storage.write_json(storage.join(config.ablate.results, f"{cell.name}.json"), record)
        spent.append(time.monotonic() - started)
        found = results.read(config.ablate.results)  # others may be at work on the same table
        results.publish(config, run, _of_table(config, table_cells, found))
    rows = results.publish(config, run, _of_table(config, table_cells, found))
    tracker.artifacts([run.path(name) for name in results.FILES])
    table(config.name, *results.cells_of(rows, short=True))
    say(f"  the table: {config.ablate.page}, the plot: {run.path(results.PLOT)}, both: {run.path(results.PAGE)}")
    return {"cells": len(table_cells)} | results.flat(rows)


def _matches(record: Mapping[str, Any] | None, cell: Cell) -> bool:
    return record is not None and record["hash"] == digest(cell.config)


def _is_current(record: Mapping[str, Any] | None, cell: Cell) -> bool:
    """Whether a cell need not run; one that was measured with other settings is named."""
    current = _matches(record, cell)
    if record is not None and not current:
        hashes = f"{record['hash']} there, {digest(cell.config)} now"
        say(f"  {cell.name}: stale, of another configuration ({hashes}); run again")
    return current


def _left(spent: list[float], cells_left: int) -> str:
    if not spent:
        return ""
    minutes = round(sum(spent) / len(spent) * cells_left / 60)
    return f"   about {minutes // 60} h {minutes % 60:02d} min left"


def _of_table(config: Config, table_cells: list[Cell], found: Mapping[str, Mapping]) -> list[Mapping]:
    """The records that belong in the table: of its variants with any seed, of today's configuration."""
    of_variant = {cell.variant: cell.config for cell in table_cells}
    return [
        record
        for name, record in found.items()
        if (base := of_variant.get(record["variant"]))
        and record["hash"] == digest(base.model_copy(update={"name": name, "seed": record["seed"]}))
    ]


def _run(cell: Cell, config: Config, tracker: Tracker, stages: Stages) -> dict[str, Any]:
    """Run a cell to its end, from where it was; returns its record."""
    run = _take_up(cell.config)
    with Tracker(cell.config, run, parent=tracker.run_id) as child:
        perform(stages, run.unfinished(cell.config), cell.config, run, child)
        summary = summarise(cell.config, run, child)
    run.conclude()
    return {
        "experiment": config.name,
        "variant": cell.variant,
        "seed": cell.config.seed,
        "overrides": config.ablate.variants[cell.variant],
        "hash": digest(cell.config),
        "figures": {key: value for key, value in summary.items() if key in results.RECORDED},
        "versions": {name: version(name) for name in VERSIONS},
        "workers": cell.config.cluster.workers,
        "gpu": cell.config.cluster.gpu,
        "date": time.strftime("%Y-%m-%d"),
        "seconds": round(sum(run.state["seconds"].values())),
        "code": code_version(),
        "store": run.state["fingerprint"],
    }


def _take_up(config: Config) -> RunDir:
    """The cell's directory; a run of other settings that it holds moves aside."""
    try:
        run = RunDir.open(config)
    except ConfigError as error:
        say(f"  {error}: it moves aside")
        config = config.model_copy(update={"fresh": True})
        run = RunDir.open(config)
    run.begin(config)
    return run
