"""The variants of a table: their trials, and which records are still what these measure."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.config.compose import Request, load
from pipeline.config.identity import digest, is_computed
from pipeline.config.root import Config
from pipeline.core import storage
from pipeline.core.errors import ConfigError
from pipeline.runs.directory import RunDirectory
from pipeline.runs.metric_names import PEOPLE_FIGURES
from pipeline.runs.resolved import ResolvedRun, resolve
from pipeline.store.manifest import read_manifest
from pipeline.sweep.compose import compose_trial, settings_of
from pipeline.sweep.records import Record
from pipeline.sweep.trial import Trial, trial_name
from pipeline.tables.verdicts import Plan

# Settings that say what a table is of, though a trial does not compute anything else by them.
OF_THE_TABLE = ("stages", "sweep", "sweep.variants", "sweep.splits", "sweep.verdict")
# What the keys in these sections begin with.
OF_ITS_SECTIONS = ("sweep.variants.", "sweep.verdict.")


@dataclass(frozen=True)
class Variant:
    """What the records of a variant must be of to be current.

    Attributes:
        name: of the variant.
        config: its configuration, with any seed.
        splits: see `Sweep.splits`.
        stores: the fingerprints of its clip store and of those that it pools.
    """

    name: str
    config: Config
    splits: list[str] | None
    stores: list[str]

    def why_stale(self, record: Record) -> str | None:
        """Return why a record is not what its trial would measure today, None where it is."""
        expected = self.hash_of(record.seed)
        if record.hash != expected:
            return f"of another configuration ({record.hash} there, {expected} now)"
        if record.stores != self.stores:
            return "of other clips"
        return None

    def hash_of(self, seed: int) -> str:
        """Return the hash of the trial with a seed."""
        data = self.config.data
        protocol = split_of(self.splits, seed)
        if protocol is not None:
            data = data.model_copy(update={"protocol": protocol})
        changes = {"name": trial_name(self.name, seed), "seed": seed, "data": data}
        return digest(self.config.model_copy(update=changes))


def split_of(splits: Sequence[str] | None, seed: int) -> str | None:
    """Return the protocol whose turn it is (see `Sweep.splits`), None if none take turns."""
    if not splits:
        return None
    return splits[seed % len(splits)]


def compose_variant(sweep: ResolvedRun, name: str, seed: int) -> Trial:
    """Compose the trial of a variant and a seed.

    Args:
        sweep: the run of the table.
        name: of the variant.
        seed: of the trial.

    Raises:
        ConfigError: the overrides of the variant are wrong; the message names it.
    """
    table = settings_of(sweep.config)
    overrides = list((table.variants or {})[name])
    protocol = split_of(table.splits, seed)
    if protocol is not None:
        overrides.append(f"data.protocol={protocol}")
    try:
        return compose_trial(sweep, name, seed, overrides)
    except ConfigError as error:
        raise ConfigError(f"sweep.variants.{name}: {error}") from None


def check_variants(sweep: ResolvedRun) -> None:
    """Make sure that a table can be made, before anything starts.

    Raises:
        ConfigError: a variant cannot be built, or its verdict is by an unknown figure.
    """
    table = settings_of(sweep.config)
    if table.verdict is not None:
        _require_known(table.verdict.metrics)
    for name in table.variants or {}:
        trial = compose_variant(sweep, name, table.seeds[0])
        try:
            resolve(trial.config, trial.request, RunDirectory(trial.config.output))
        except ConfigError as error:
            raise ConfigError(f"sweep.variants.{name}: {error}") from None


def _require_known(metrics: Sequence[str]) -> None:
    """Raise ConfigError for a figure that is not measured of each test person."""
    for name in metrics:
        if name not in PEOPLE_FIGURES:
            known = ", ".join(PEOPLE_FIGURES)
            raise ConfigError(f"sweep.verdict.metrics: {name} is not one of {known}")


def variants_by_name(sweep: ResolvedRun, store: str) -> dict[str, Variant]:
    """Return what the records of each variant must be of, in the order of the table.

    Args:
        sweep: the run of the table.
        store: the fingerprint of the clip store of all trials.

    Raises:
        ConfigError: the overrides of a variant are wrong; the message names it.
        UserError: a pooled store is not there.
    """
    table = settings_of(sweep.config)
    variants = {}
    for name in table.variants or {}:
        config = compose_variant(sweep, name, table.seeds[0]).config
        stores = [store]
        # The manifest is enough: who trains on a store opens it, and finds what is damaged.
        for pooled in config.data.pool:
            stores.append(read_manifest(pooled.store)["fingerprint"])
        variants[name] = Variant(name, config, table.splits, stores)
    return variants


def plan_of(config: Config, request: Request) -> Plan | None:
    """Return what a table is to tell, and by which trials, None if nothing.

    One run may have been asked for some seeds only. The plan has those of the whole table.

    Args:
        config: of the run of the table.
        request: what a user typed for it.
    """
    verdict = settings_of(config).verdict
    if verdict is None:
        return None
    whole = load(shared_command(config, request), request.config_dir)
    return Plan(**verdict.model_dump(), seeds=settings_of(whole).seeds)


def shared_command(config: Config, request: Request) -> list[str]:
    """Return the overrides that make the whole table, as others can use them.

    Places are left out, because they are of one machine, except that recordings keep their name.
    So is what says which of the trials one run was to measure.
    """
    shown = []
    for override in request.overrides:
        key, _, value = override.partition("=")
        # Hydra's marks for adding and deleting a key.
        key = key.lstrip("+~")
        if key == "data.raw" or (key == "data.store" and config.data.raw is None):
            shown.append(f"{key}={storage.name(value)}")
        elif is_computed(key) or key in OF_THE_TABLE or key.startswith(OF_ITS_SECTIONS):
            shown.append(override)
    return shown
