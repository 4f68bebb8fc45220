"""The cells of a table: which runs it takes, and which records are still what these measure."""

from dataclasses import dataclass

from pipeline.config.ablate import Ablate
from pipeline.config.compose import Request, load
from pipeline.config.identity import digest, is_computed
from pipeline.config.places import settle_places
from pipeline.config.root import Config
from pipeline.core import storage
from pipeline.core.errors import ConfigError
from pipeline.store.manifest import read_manifest
from pipeline.sweep.records import Record, cell_name

# Settings that say what a table is of, though a cell does not compute anything else by them.
OF_THE_TABLE = ("ablate.variants.", "ablate.splits")


@dataclass(frozen=True)
class Cell:
    """One run of a table: a variant with a seed.

    Attributes:
        variant: its name.
        config: of the run.
        request: what a user would type for it.
    """

    variant: str
    config: Config
    request: Request

    @property
    def name(self) -> str:
        """The name of the cell, which is also that of its directory and of its record."""
        return self.config.name


@dataclass(frozen=True)
class Variant:
    """What the records of a variant must be of to be current.

    Attributes:
        name: of the variant.
        config: its configuration, with any seed.
        splits: see `Ablate.splits`.
        stores: the fingerprints of its clip store and of those that it pools.
    """

    name: str
    config: Config
    splits: list[str] | None
    stores: list[str]

    def why_stale(self, record: Record) -> str | None:
        """Return why a record is not what its cell would measure today, None where it is."""
        expected = digest(_with_seed(self.config, self.name, record.seed, self.splits))
        if record.hash != expected:
            return f"of another configuration ({record.hash} there, {expected} now)"
        if record.stores != self.stores:
            return "of other clips"
        return None


def section(config: Config) -> Ablate:
    """Return the section `ablate`, which a configuration with this stage has."""
    if config.ablate is None:
        raise ConfigError("ablate: missing")
    return config.ablate


def compose_variants(config: Config, request: Request) -> dict[str, Config]:
    """Compose the configuration of every variant.

    Args:
        config: of the table.
        request: what was typed for the table; the overrides of a variant come after it.

    Raises:
        ConfigError: the overrides of a variant are wrong; the message names it.
    """
    composed = {}
    for name, overrides in section(config).variants.items():
        try:
            composed[name] = load([*request.overrides, *overrides], request.config_dir)
        except ConfigError as error:
            raise ConfigError(f"ablate.variants.{name}: {error}") from None
    return composed


def cells(config: Config, request: Request) -> list[Cell]:
    """Return all cells of a table, seed by seed: after the first seed there is a whole table.

    Args:
        config: of the table, with absolute places.
        request: what was typed for it.

    Raises:
        ConfigError: the overrides of a variant are wrong; the message names it.
    """
    composed = compose_variants(config, request)
    table_cells = []
    for seed in section(config).seeds:
        for variant, base in composed.items():
            table_cells.append(_cell(config, request, variant, seed, base))
    return table_cells


def _cell(config: Config, request: Request, variant: str, seed: int, base: Config) -> Cell:
    """Return the cell of a variant and a seed: a run in the table's output, on its store."""
    ablate = section(config)
    own = _with_seed(base, variant, seed, ablate.splits)
    # What the variant computes stays as it is; what changes decides nothing that is computed.
    placed = own.model_copy(
        update={
            "stages": ["pretrain", "evaluate"],
            "output": storage.join(config.output, own.name),
            "fresh": False,
            "ablate": None,
            "tracking": config.tracking,
            "data": own.data.model_copy(update={"store": config.store}),
        }
    )
    overrides = (*request.overrides, *ablate.variants[variant], f"seed={seed}", f"name={own.name}")
    # All places that may be lost lie in those of the table, which were checked.
    settled = settle_places(placed, in_job=False)
    return Cell(variant, settled, Request(overrides, request.config_dir))


def _with_seed(base: Config, variant: str, seed: int, splits: list[str] | None) -> Config:
    """Return a variant's configuration with a seed, and of `splits` the one whose turn it is."""
    data = base.data
    if splits:
        data = data.model_copy(update={"protocol": splits[seed % len(splits)]})
    return base.model_copy(update={"name": cell_name(variant, seed), "seed": seed, "data": data})


def variants_by_name(cells: list[Cell], splits: list[str] | None, store: str) -> dict[str, Variant]:
    """Return what the records of each variant must be of.

    Args:
        cells: of the table.
        splits: see `Ablate.splits`.
        store: the fingerprint of the clip store of all cells.

    Raises:
        UserError: a pooled store is not there.
    """
    variants: dict[str, Variant] = {}
    for cell in cells:
        if cell.variant not in variants:
            # The manifest is enough: who trains on a store opens it, and finds what is damaged.
            pooled = []
            for part in cell.config.data.pool:
                pooled.append(read_manifest(part.store)["fingerprint"])
            variants[cell.variant] = Variant(cell.variant, cell.config, splits, [store, *pooled])
    return variants


def shared_command(config: Config, request: Request) -> list[str]:
    """Return the overrides that make the whole table, as others can use them.

    Places are left out, because they are of one machine, except that recordings keep their name.
    So is what says which of the cells one run was to measure.
    """
    shown = []
    for override in request.overrides:
        key, _, value = override.partition("=")
        # Hydra's marks for adding and deleting a key.
        key = key.lstrip("+~")
        if key == "data.raw" or (key == "data.store" and config.data.raw is None):
            shown.append(f"{key}={storage.name(value)}")
        elif is_computed(key) or key.startswith(OF_THE_TABLE):
            shown.append(override)
    return shown
