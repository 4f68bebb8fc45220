"""Judging published tables: the records in `results/`, by the plans in the files of the tables."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.config.compose import Request, load
from pipeline.config.sweep import Sweep
from pipeline.config.verdict import Verdict
from pipeline.core import storage
from pipeline.core.console import say
from pipeline.core.errors import ConfigError
from pipeline.sweep.publish import RECORDS
from pipeline.sweep.records import Record, read_records
from pipeline.sweep.variants import Variant, plan_of
from pipeline.tables.verdicts import Plan, PlannedTable


@dataclass(frozen=True)
class JudgedTable:
    """A published table that is judged.

    Attributes:
        name: of the table.
        plan: that stands in its file today.
        records: current ones of the variants of the plan.
    """

    name: str
    plan: Plan
    records: list[Record]

    @property
    def verdict(self) -> Verdict:
        """What is asked of the table, for any seeds and people."""
        return Verdict(**self.plan.model_dump(exclude={"seeds", "except_people"}))

    @property
    def planned(self) -> int:
        """How many of the records are of trials that began when the plan had been made."""
        return sum(record.plan == self.plan for record in self.records)

    def as_planned(self) -> PlannedTable:
        """Return what the verdicts are made of."""
        return PlannedTable(self.name, self.plan, self.records)


def judged_tables(names: Sequence[str], folder: str, config_dir: str | None) -> list[JudgedTable]:
    """Return published tables that are judged together.

    Args:
        names: of the tables; each has a file in `conf/sweep/` or in `config_dir`.
        folder: of the published tables.
        config_dir: a directory of the user's own, see `Request`.

    Raises:
        ConfigError: a table has no plan or no records, two are the same, or their plans differ.
        UserError: a file of records is damaged.
    """
    if len(set(names)) < len(names):
        raise ConfigError(f"{', '.join(names)}: name each table only once")
    tables = [_judged_table(name, folder, config_dir) for name in names]
    for table in tables[1:]:
        if table.verdict != tables[0].verdict:
            raise ConfigError(
                f"sweep.verdict: {table.name} asks something else ({table.verdict}) than "
                f"{tables[0].name} ({tables[0].verdict}); judge them one by one"
            )
    return tables


def _judged_table(name: str, folder: str, config_dir: str | None) -> JudgedTable:
    request = Request((f"sweep={name}",), config_dir)
    config = load(request.overrides, config_dir)
    if config.sweep is None or config.sweep.is_search:
        raise ConfigError(f"{name}: a search, and no table of variants")
    plan = plan_of(config, request)
    if plan is None:
        raise ConfigError(f"{name}: its file plans no verdict; write sweep.verdict into it")
    uri = storage.join(folder, name + RECORDS)
    records = read_records(uri)
    if not records:
        raise ConfigError(f"{uri}: holds no records; results/publish.py writes them")
    variants = _variants(plan, config.sweep, request)
    current = []
    for record in records:
        if record.variant not in variants:
            continue
        # Which clips are pooled is not checked: the stores may lie on another machine.
        variant = replace(variants[record.variant], stores=record.stores)
        reason = variant.why_stale(record)
        if reason is None:
            current.append(record)
        else:
            say(f"  {name}: {record.name} does not count, {reason}")
    return JudgedTable(name, plan, _of_the_same_clips(name, current))


def _of_the_same_clips(name: str, records: Sequence[Record]) -> list[Record]:
    """Return the records of the clip store that most of them are of, and name the others."""
    if not records:
        return []
    stores = Counter(record.stores[0] for record in records)
    [(store, _)] = stores.most_common(1)
    same = []
    for record in records:
        if record.stores[0] == store:
            same.append(record)
        else:
            say(f"  {name}: {record.name} does not count, of other clips than most")
    return same


def _variants(plan: Plan, sweep: Sweep, request: Request) -> dict[str, Variant]:
    """Return what the records of the variants of a plan must be of."""
    variants = {}
    for name in (plan.variant, *plan.against):
        overrides = (sweep.variants or {})[name]
        config = load([*request.overrides, *overrides], request.config_dir)
        variants[name] = Variant(name, config, sweep.splits, [])
    return variants
