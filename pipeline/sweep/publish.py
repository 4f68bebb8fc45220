"""Publishing: the records of a run become part of a table in `results/`, which is drawn anew.

A table is three files. `<table>.jsonl` holds the records, in the order of its rows; `<table>.md`
and `<table>.png` are made of nothing else, so that they can be checked against it.
"""

from collections.abc import Sequence

from pipeline.config.root import Config
from pipeline.config.sweep import Sweep
from pipeline.core import storage
from pipeline.core.console import say
from pipeline.core.errors import ConfigError
from pipeline.runs import files
from pipeline.runs.directory import saved_config
from pipeline.sweep.records import Record, read_records, write_records
from pipeline.sweep.variants import Variant
from pipeline.tables.noise import read_noise
from pipeline.tables.plot import plot, stamp
from pipeline.tables.rows import Table
from pipeline.tables.text import markdown, replaced

RECORDS = ".jsonl"
PAGE = ".md"
PLOT = ".png"
# The page of the folder itself.
README = "README"


def publish(output: str, folder: str) -> str:
    """Merge the records of a run into the published table of its name, and draw that anew.

    A published record gives way to one of the same trial, and to those of its variant where the
    variant has other settings now.

    Args:
        output: of a sweep that made a table.
        folder: of the published tables.

    Returns:
        The name of the table.

    Raises:
        ConfigError: `output` holds no records, or records of code that was not committed, or the
            table would lack its reference.
    """
    config, sweep = _configuration(output)
    records = read_records(storage.join(output, files.RECORDS))
    if not records:
        raise ConfigError(f"{output}: holds no records of a table; stages=[sweep] measures them")
    _require_committed(config.name, records, output)
    table = storage.join(folder, config.name + RECORDS)
    # By trial. The new records come first, because they replace older ones.
    merged: dict[str, Record] = {}
    for record in records:
        merged[record.name] = record
    for record in read_records(table):
        if record.name in merged:
            continue
        stale = _why_stale(record, records, sweep, output)
        if stale is None:
            merged[record.name] = record
        else:
            say(f"  {record.name}: {stale}; no longer in the table")
    # The differences of a page are to the first row, which must not be just any variant.
    if all(record.variant != sweep.reference for record in merged.values()):
        raise ConfigError(
            f"{output}: the table would have no record of its reference {sweep.reference}; "
            "measure that, too"
        )
    write_records(table, merged.values(), list(sweep.variants or {}))
    draw(folder, config.name)
    return config.name


def _configuration(output: str) -> tuple[Config, Sweep]:
    """Return the configuration of a sweep that made a table, and its section `sweep`."""
    place = storage.join(output, files.CONFIG)
    if not storage.exists(place):
        raise ConfigError(f"{output}: holds no run")
    config = saved_config(output)
    if config.sweep is None or config.sweep.is_search:
        raise ConfigError(f"{output}: holds a run without a table")
    return config, config.sweep


def _require_committed(table: str, records: Sequence[Record], output: str) -> None:
    """Raise ConfigError for records of a run's own that no commit can reproduce."""
    dirty = []
    for record in records:
        # Records that were taken over from another table have been published already.
        if record.experiment == table and not record.is_committed:
            dirty.append(f"{record.name} ({record.code})")
    if dirty:
        raise ConfigError(
            f"{output}: measured by code that is in no commit: {', '.join(dirty)}; "
            "commit the code and measure again"
        )


def _why_stale(
    published: Record, records: Sequence[Record], sweep: Sweep, output: str
) -> str | None:
    """Return why a published record is not of the same settings as the new ones of its variant.

    The settings are in the directory of a new record's trial. Without one nothing is known, and the
    published record stays.
    """
    for record in records:
        trial = storage.join(output, record.name)
        has_config = storage.exists(storage.join(trial, files.CONFIG))
        if record.variant == published.variant and has_config:
            config = saved_config(trial)
            variant = Variant(record.variant, config, sweep.splits, record.stores)
            return variant.why_stale(published)
    return None


def tables(folder: str) -> list[str]:
    """Return the names of the published tables."""
    return _names(folder, RECORDS)


def draw(folder: str, name: str) -> None:
    """Write page and plot of a published table; what is written by hand in the page stays."""
    table = _table(folder, name)
    storage.write_bytes(storage.join(folder, name + PLOT), plot(table))
    page = storage.join(folder, name + PAGE)
    text = replaced(_text(page), markdown(table, name + PLOT))
    storage.write_bytes(page, text.encode())


def problems(folder: str) -> list[str]:
    """Return what is wrong with the published tables, a line each; nothing where all is well."""
    found = []
    names = tables(folder)
    for name in names:
        table = _table(folder, name)
        # Drawing a page that is up to date changes nothing in it.
        page = storage.join(folder, name + PAGE)
        if _text(page) != replaced(_text(page), markdown(table, name + PLOT)):
            found.append(f"{page}: not what {name}{RECORDS} says")
        image = storage.join(folder, name + PLOT)
        if not storage.exists(image) or stamp(table).encode() not in storage.read_bytes(image):
            found.append(f"{image}: does not show what {name}{RECORDS} says")
    # What is left of a table that was renamed or taken away.
    for ending in (PAGE, PLOT):
        for name in _names(folder, ending):
            if name not in names and name != README:
                found.append(f"{storage.join(folder, name + ending)}: of no table")
    return found


def _names(folder: str, ending: str) -> list[str]:
    """Return the names of the files with an ending, without it."""
    names = []
    for entry in storage.files(folder):
        name = storage.name(entry.path)
        if name.endswith(ending):
            names.append(name.removesuffix(ending))
    return names


def _table(folder: str, name: str) -> Table:
    """Return a published table. Its file has the variants in the order of the rows."""
    records = read_records(storage.join(folder, name + RECORDS))
    variants = list(dict.fromkeys(record.variant for record in records))
    return Table.of(name, records, variants, noise=read_noise(folder))


def _text(page: str) -> str:
    """Return the text of a page, nothing where there is none."""
    if not storage.exists(page):
        return ""
    return storage.read_bytes(page).decode()
