"""What an ingest leaves beside its shards until the manifest is there, so that it can be resumed.

    store/
      shard-00000.parquet           a finished shard
      unfinished/settings.json      what the ingest was asked for
      unfinished/shard-00000.json   the report of that shard

A shard counts as finished where its report is there and its file is what the report says.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pipeline import __version__
from pipeline.core import storage
from pipeline.ingest.recording import Rejected
from pipeline.store.manifest import FLAWS, FORMAT_VERSION, MANIFEST, REJECTS, checksum
from pipeline.store.manifest_form import is_shard

UNFINISHED = "unfinished"
SETTINGS = "settings.json"

_REPORT = re.compile(r"shard-\d+\.json")
# Shards, and what a kill leaves of a file that was being written.
_OURS = re.compile(
    rf"shard-\d+\.parquet|(shard-\d+\.parquet|{MANIFEST}|{REJECTS}|{FLAWS})\.[0-9a-f]{{8}}\.tmp"
)


@dataclass(frozen=True)
class Flaw:
    """Something that is wrong with a clip that is used all the same."""

    clip_id: str
    flaw: str


@dataclass
class ShardReport:
    """What became of the recordings of one shard.

    Attributes:
        number: the shard's number, from 0.
        recordings: how many members it was made of.
        rejects: the recordings that cannot be used.
        flaws: what is wrong with clips that can be used.
        left_out: how many clips were left out because the authors of the data set say so.
        bodies: how the bodies of some clips stand, and how large they are: `standing`, `size` and
            `thinnest` of `pipeline.store.bodies.measure_bodies` in a row a clip.
        shard: the manifest's entry (see `write_shard`). None where no recording was usable.
    """

    number: int
    recordings: int
    rejects: list[Rejected] = field(default_factory=list)
    flaws: list[Flaw] = field(default_factory=list)
    left_out: int = 0
    bodies: list[list[float | None]] = field(default_factory=list)
    shard: dict[str, Any] | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "ShardReport":
        """Return the report that `to_json` gave."""
        rejects = [Rejected(**reject) for reject in values["rejects"]]
        flaws = [Flaw(**flaw) for flaw in values["flaws"]]
        return cls(**{**values, "rejects": rejects, "flaws": flaws})

    def to_json(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return asdict(self)


# Reads reports, and checks the types of all values.
_REPORTS = TypeAdapter(ShardReport)


def shard_name(number: int) -> str:
    """Return the file name of a shard."""
    return f"shard-{number:05}.parquet"


def report_name(number: int) -> str:
    """Return the file name of the report of a shard."""
    return f"shard-{number:05}.json"


def write_report(store: str, report: ShardReport) -> None:
    """Keep a report beside the shards. It comes after its shard, and says that this is whole."""
    uri = storage.join(store, UNFINISHED, report_name(report.number))
    storage.write_json(uri, report.to_json())


def begin(store: str, settings: Mapping[str, Any]) -> dict[int, ShardReport]:
    """Make the store's directory ready for an ingest.

    Deletes the manifest first, and then what a damaged store or an ingest of other recordings or
    settings has left.

    Args:
        store: directory of the store.
        settings: what the ingest was asked for, with the dates of its recordings.

    Returns:
        The reports of the shards that an interrupted ingest of the same settings has finished, by
        number.
    """
    storage.make_directory(store)
    storage.delete([storage.join(store, MANIFEST)])
    unfinished = storage.join(store, UNFINISHED)
    begun = storage.join(unfinished, SETTINGS)
    wanted = {"version": FORMAT_VERSION, "tool": __version__, **settings}
    names = {file.base_name for file in storage.files(store)}

    finished: dict[int, ShardReport] = {}
    # Settings that are damaged are not those that are wanted: the ingest begins anew.
    if storage.read_object(begun) == wanted:
        finished = _finished_shards(store, names)
    else:
        storage.delete_directory(unfinished)
        storage.write_json(begun, wanted)

    # Shards without a report are of another ingest, or half of this one. Other people's files stay.
    kept = {report.shard["name"] for report in finished.values() if report.shard}
    stale = [name for name in names if _OURS.fullmatch(name) and name not in kept]
    storage.delete(storage.join(store, name) for name in stale)
    return finished


def conclude(store: str) -> None:
    """Delete the reports: the manifest is there now. A kill just after the manifest leaves them."""
    storage.delete_directory(storage.join(store, UNFINISHED))


def _finished_shards(store: str, names: set[str]) -> dict[int, ShardReport]:
    unfinished = storage.join(store, UNFINISHED)
    finished = {}
    for file in storage.files(unfinished):
        if not _REPORT.fullmatch(file.base_name):
            continue
        report = _read_report(storage.join(unfinished, file.base_name))
        if report is not None and _is_whole(store, report.shard, names):
            finished[report.number] = report
    return finished


def _read_report(uri: str) -> ShardReport | None:
    """Read the report of a shard. None if it is damaged: the shard is then written again."""
    try:
        report = _REPORTS.validate_python(storage.read_object(uri))
    except ValidationError:
        return None
    if storage.name(uri) != report_name(report.number):
        return None
    if report.shard is not None and not is_shard(report.shard):
        return None
    return report


def _is_whole(store: str, shard: Mapping[str, Any] | None, names: set[str]) -> bool:
    """Tell whether a shard is what its report says."""
    if shard is None:  # None of its recordings was usable, so there is no file.
        return True
    if shard["name"] not in names:
        return False
    return checksum(storage.read_bytes(storage.join(store, shard["name"]))) == shard["checksum"]
