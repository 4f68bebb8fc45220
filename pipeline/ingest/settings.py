"""What identifies an ingest: the settings that were asked for, and the recordings that were found.

A store is reused only for the same identity. Settings are compared value by value. Recordings are
compared by their names and sizes and by what their companion files (labels, splits, tables) hold.
That is cheap, and it does not depend on where the recordings lie.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.config.coordinates import CANONICAL, Coordinates
from pipeline.core import storage
from pipeline.core.console import say
from pipeline.core.errors import ConfigError
from pipeline.ingest.prepare import PRESETS
from pipeline.ingest.recording import RecordingReader
from pipeline.ingest.source import Listing, RejectedRecording, opened
from pipeline.store.clip_store import ClipStore
from pipeline.store.manifest import MANIFEST, DamagedStore, checksum, layout_record, read_manifest

if TYPE_CHECKING:
    from models.skeleton import SkeletonLayout

# A message names the old and the new value of a setting, but not of these: one is a digest, one is
# long.
NOT_SHOWN = ("recordings", "layout")


@dataclass(frozen=True)
class IngestRequest:
    """What a clip store is to be made of, and how.

    Attributes:
        raw: the recordings: directories and zip files. None: the store must be there already.
        store: directory of the store.
        reader: what reads the recordings.
        dataset: a name that goes with every clip and makes its performance ids its own.
        layout: the skeleton layout of the recordings.
        persons: M, the persons of a clip.
        preparation: a name of `PRESETS`.
        protocols: see `pipeline.store.protocols`. The manifest counts the clips on every side.
        files_per_shard: recordings in a shard.
        seed: decides the order of the rows.
        classes: number of classes. A recording with a label beyond them is rejected. None: any
            label.
        left_out: ids of the clips that the data set's authors say to leave out.
        max_rejected: share of the recordings that may be rejected.
        coordinates: the axes and the unit of the recordings.
    """

    raw: Sequence[str] | None
    store: str
    reader: RecordingReader
    dataset: str
    layout: "SkeletonLayout"
    persons: int
    preparation: str
    protocols: Mapping[str, Mapping]
    files_per_shard: int
    seed: int
    classes: int | None = None
    left_out: frozenset[str] = field(default=frozenset(), repr=False)
    max_rejected: float = 1.0
    coordinates: Coordinates = CANONICAL


@dataclass(frozen=True)
class Recordings:
    """The recordings of an ingest, as they were found.

    Attributes:
        sources: the directories and zip files, absolute.
        listing: the recordings in them.
        inventory: digest of the recordings' names and sizes, and of their companions' content.
        dates: digest of the dates of all files.
    """

    sources: tuple[str, ...]
    listing: Listing
    inventory: str
    dates: str


def find_recordings(raw: Sequence[str], reader: RecordingReader) -> Recordings:
    """List the recordings of some sources.

    Raises:
        UserError: a source is missing, is no source for this reader, or none of them holds a
            recording.
    """
    sources = tuple(storage.absolute(uri) for uri in raw)
    listing = reader.listing(sources)
    return Recordings(
        sources, listing, digest(_inventory(sources, listing)), digest(_dates(sources))
    )


def settings_of(request: IngestRequest, recordings: Recordings | None) -> dict[str, Any]:
    """Return the settings that a store must have to be reused for a request, and that it keeps.

    Args:
        request: what is asked for.
        recordings: what was found. Without them, the store may be made of any recordings.
    """
    preset = PRESETS[request.preparation]
    left_out = None
    if request.left_out:
        left_out = digest(sorted(request.left_out))
    settings = {
        "reader": request.reader.record(),
        "dataset": request.dataset,
        "layout": layout_record(request.layout),
        "coordinates": request.coordinates.model_dump(),
        "persons": request.persons,
        "preparation": {"name": preset.name, **preset.parameters},
        "classes": request.classes,
        "left_out": left_out,
        "files_per_shard": request.files_per_shard,
        "seed": request.seed,
    }
    if recordings is not None:
        settings["recordings"] = recordings.inventory
    return settings


def existing_store(uri: str, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Find a whole store that was made with the given settings.

    Args:
        uri: directory of the store.
        settings: see `settings_of`.

    Returns:
        Its manifest. None where there is no store, or a damaged one that the recordings can make
        again.

    Raises:
        ConfigError: there is a store of other settings.
        UserError: there is a damaged store and no recordings to make it again.
    """
    if not storage.exists(storage.join(uri, MANIFEST)):
        return None
    manifest = read_manifest(uri)
    _require_same_settings(uri, manifest["settings"], settings)
    try:
        store = ClipStore.open(uri)
        store.verify()
    except DamagedStore:
        if "recordings" not in settings:
            raise
        return None
    return store.manifest


def _require_same_settings(
    uri: str, previous: Mapping[str, Any], settings: Mapping[str, Any]
) -> None:
    previous = _upgraded(previous)
    settings = _upgraded(settings)
    differing = [key for key, value in settings.items() if previous.get(key) != value]
    if not differing:
        return
    key = differing[0]
    values = ""
    if key not in NOT_SHOWN:
        values = f": it has {previous.get(key)!r}, {settings[key]!r} is asked for"
    raise ConfigError(
        f"{uri}: holds a clip store made with other settings ({', '.join(differing)}{values}); "
        "choose another data.store or delete it"
    )


def _upgraded(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a store in today's form.

    Older stores hold recordings in the canonical form, because there was no other. The reader of
    arrays had a text about axes, which nothing read.
    """
    upgraded = {"coordinates": CANONICAL.model_dump(), **settings}
    reader = settings.get("reader")
    if isinstance(reader, dict) and reader.get("name") == "arrays":
        upgraded["reader"] = {key: value for key, value in reader.items() if key != "axes"}
    return upgraded


def require_same_recordings(raw: Sequence[str], store: str, reader: RecordingReader) -> None:
    """Check that recordings are the ones that a store was made of.

    Nothing is compared where one of the sources is gone: a run may go on without its recordings.

    Raises:
        ConfigError: they are other recordings.
    """
    for uri in raw:
        if not storage.exists(storage.absolute(uri)):
            return
    manifest = read_manifest(store)
    recordings = find_recordings(raw, reader)
    if manifest["settings"].get("recordings") != recordings.inventory:
        raise ConfigError(
            f"data.raw: other recordings than {store} was made of; "
            "choose another output and data.store, or fresh=true"
        )
    warn_of_other_dates(store, manifest, recordings)


def warn_of_other_dates(store: str, manifest: Mapping[str, Any], recordings: Recordings) -> None:
    """Say so where recordings of the same names and sizes have other dates.

    They were copied, which does no harm, or they were changed within their size.
    """
    if recordings.dates != manifest.get("dates"):
        say(
            f"  the recordings have other dates than when {store} was made of them; "
            "if they changed, delete it"
        )


def _inventory(sources: Sequence[str], listing: Listing) -> Iterator[str]:
    """Yield what makes recordings the same ones: names, sizes, and the content of companions."""
    for member in listing.members:
        yield f"{member.name}\t{member.size}"
    if listing.facts:
        yield listing.facts
    # Sources are opened for companions only: a source may be a file that is neither a folder nor a
    # zip.
    if not listing.companions:
        return
    with opened(sources) as read:
        for member in listing.companions:
            try:
                yield f"{member.name}\t{checksum(read(member))}"
            except RejectedRecording as reason:
                yield f"{member.name}\t{reason}"


def _dates(sources: Sequence[str]) -> Iterator[str]:
    """Yield when each file of the sources was last changed: names and sizes do not show it."""
    for uri in sources:
        if storage.is_directory(uri):
            for file in storage.files(uri, recursive=True):
                yield f"{storage.name(file.path)}\t{file.mtime_ns}"
        else:
            yield f"{storage.name(uri)}\t{storage.info(uri).mtime_ns}"


def digest(lines: Iterable[str]) -> str:
    """Return the identity of some lines (hex, 16 bytes). File names may hold lone surrogates."""
    data = "\n".join(lines).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=16).hexdigest()
