"""The stage `ablate`: a table of runs, variants times seeds, that differ in nothing but what the table is about.

Each cell is an ordinary run in `output/<variant>-<seed>` on the one clip store of all. What a finished cell measured
lies in `ablate.results` as a small file of its own; cells whose file is there and current, of today's configuration and
of these clips, are skipped, so that a table can be built up over days and on several machines.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from pipeline.ablate import results
from pipeline.config.schema import Config, check, digest, load
from pipeline.core import storage
from pipeline.core.console import say, table
from pipeline.core.errors import ConfigError
from pipeline.encoder.build import check_models
from pipeline.runs.perform import Stages, perform, summarise
from pipeline.runs.rundir import RunDir, settle_places
from pipeline.runs.tracking import Tracker, code_version
from pipeline.store.clip_store import ClipStore

VERSIONS = ("torch", "ray", "numpy")


@dataclass(frozen=True)
class Cell:
    variant: str
    config: Config

    @property
    def name(self) -> str:
        return self.config.name


@dataclass(frozen=True)
class Variant:
    """What a record of a variant has to be of: its configuration with any seed, the fingerprints of its clips."""

    name: str
    config: Config
    splits: list[str] | None
    stores: list[str]

    @classmethod
    def of(cls, cell: Cell, splits: list[str] | None, run: RunDir) -> "Variant":
        """run: the table's, which knows the store of all cells by now. Raises UserError for a pooled store that is not
        there."""
        pooled = [ClipStore.open(pooled.store).fingerprint for pooled in cell.config.data.pool]
        return cls(cell.variant, cell.config, splits, [run.state["fingerprint"], *pooled])

    def why_stale(self, record: Mapping[str, Any]) -> str | None:
        """Why a cell's record is not what the cell would measure today; None where it is."""
        now = digest(_of_seed(self.config, self.name, record["seed"], self.splits))
        if record["hash"] != now:
            return f"of another configuration ({record['hash']} there, {now} now)"
        return None if record["stores"] == self.stores else "of other clips"


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
    """All cells of the table, seed by seed: after the first seed there is a whole table already."""
    composed = variants(config)
    return [
        _cell(config, name, base, seed)
        for seed in config.ablate.seeds
        for name, base in composed.items()
    ]


def _cell(config: Config, variant: str, base: Config, seed: int) -> Cell:
    own = _of_seed(base, variant, seed, config.ablate.splits)
    values = own.model_dump()
    values |= {
        "stages": ["pretrain", "evaluate"],
        "output": storage.join(config.output, own.name),
        "fresh": False,
        "ablate": None,
        "tracking": config.tracking.model_dump(),
    }
    values["data"]["store"] = config.store
    return Cell(variant, settle_places(check(values)))


def _of_seed(base: Config, variant: str, seed: int, splits: list[str] | None) -> Config:
    """A variant's configuration with a seed: the cell's name, and of `splits` the one whose turn it is."""
    data = (
        base.data.model_copy(update={"protocol": splits[seed % len(splits)]})
        if splits
        else base.data
    )
    return base.model_copy(update={"name": f"{variant}-{seed}", "seed": seed, "data": data})


def ablate(config: Config, run: RunDir, tracker: Tracker, stages: Stages) -> dict[str, Any]:
    """Run what is missing of the table, or of the variants `ablate.only`; returns means and deviations over seeds,
    `<variant>_<figure>`.

    Leaves `<variant>-<seed>.json` in `ablate.results`, and after each cell the table as it stands: in `ablate.page` and
    in `output` with its plot.
    Raises UserError for a pooled store that is not there.
    """
    table_cells = cells(config)
    stages["ingest"](config, run, tracker)
    variant_of = {cell.variant: Variant.of(cell, config.ablate.splits, run) for cell in table_cells}
    wanted = [cell for cell in table_cells if cell.variant in (config.ablate.only or variant_of)]
    found = results.read(config.ablate.results)
    missing = []
    for cell in wanted:
        stale = variant_of[cell.variant].why_stale(found[cell.name]) if cell.name in found else None
        if stale:
            say(f"  {cell.name}: stale, {stale}; run again")
        if stale or cell.name not in found:
            missing.append(cell)
    if len(missing) < len(wanted):
        say(
            f"  {len(wanted) - len(missing)} of {len(wanted)} cells are in {config.ablate.results}, skipped"
        )
    spent = []
    for number, cell in enumerate(missing, 1):
        found = results.read(config.ablate.results)
        if cell.name in found and not variant_of[cell.variant].why_stale(found[cell.name]):
            say(
                f"  cell {number} of {len(missing)}: {cell.name} was measured elsewhere meanwhile, skipped"
            )
            continue
        say(
            f"  cell {number} of {len(missing)}: {cell.name}{_left(spent, len(missing) - number + 1)}"
        )
        started = time.monotonic()
        record = _run(cell, config, tracker, stages)
        storage.write_json(storage.join(config.ablate.results, f"{cell.name}.json"), record)
        spent.append(time.monotonic() - started)
        found = results.read(config.ablate.results)  # others may be at work on the same table
        results.publish(config, run, _of_table(variant_of, found))
    rows = results.publish(config, run, _of_table(variant_of, found))
    tracker.artifacts([run.path(name) for name in results.FILES])
    table(config.name, *results.cells_of(rows, short=True))
    say(
        f"  the table: {config.ablate.page}, the plot: {run.path(results.PLOT)}, both: {run.path(results.PAGE)}"
    )
    return {"cells": len(wanted)} | results.flat(rows)


def _left(spent: list[float], cells_left: int) -> str:
    if not spent:
        return ""
    minutes = round(sum(spent) / len(spent) * cells_left / 60)
    return f"   about {minutes // 60} h {minutes % 60:02d} min left"


def _of_table(variant_of: Mapping[str, Variant], found: Mapping[str, Mapping]) -> list[Mapping]:
    """The records that belong in the table: of its variants with any seed, none that is stale."""
    return [
        record
        for record in found.values()
        if (variant := variant_of.get(record["variant"])) and not variant.why_stale(record)
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
        "stores": _stores(run, cell.config),
    }


def _stores(run: RunDir, config: Config) -> list[str]:
    """What a finished cell was pretrained on: the fingerprints of its store and of those that it pools."""
    return [
        run.state[key]
        for key in ("fingerprint", *(f"pool_{n}" for n in range(len(config.data.pool))))
    ]


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
