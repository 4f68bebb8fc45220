"""The stage `ingest`: from recordings to the clip store."""

from typing import TYPE_CHECKING, Any

from pipeline.core import storage
from pipeline.core.console import Bar, say
from pipeline.ingest.clip_names import left_out_clips
from pipeline.ingest.driver import ingest_recordings
from pipeline.ingest.formats import reader_for
from pipeline.ingest.settings import IngestRequest
from pipeline.ingest.synthetic.recorder import record
from pipeline.runs import files
from pipeline.runs.resolved import ResolvedRun
from pipeline.runs.state import OWN_STORE
from pipeline.runs.stores import trust
from pipeline.store.clip_store import ClipStore
from pipeline.store.manifest import FLAWS, REJECTS

if TYPE_CHECKING:  # MLflow takes more than a second to import.
    from pipeline.runs.tracking import Tracker

# Rejected recordings that are shown; the rest is in a file.
REJECTS_SHOWN = 3


def ingest(run: ResolvedRun, tracker: "Tracker") -> dict[str, Any]:
    """Make the clip store of a run, or reuse the one that is there.

    Records synthetic recordings first where there are no others.

    Args:
        run: the run.
        tracker: unused, the stage measures nothing over time.

    Returns:
        How many clips there are, how many recordings were rejected, and where the store lies.

    Raises:
        ConfigError, UserError: see `pipeline.ingest.build.build_store`.
    """
    request = _request(run, _recordings(run))
    with Bar("ingest", unit="files") as bar:
        manifest = ingest_recordings(request, bar.update)
    # Its checksums were computed just now.
    trust(ClipStore.open(run.config.store), OWN_STORE, run.directory)
    # Opened at once: later stages work on this store and on no other.
    _ = run.store
    _announce(run, manifest)
    return {
        "clips": manifest["clips"],
        "rejected": len(manifest["rejected"]),
        "store": run.config.store,
    }


def _recordings(run: ResolvedRun) -> list[str] | None:
    """Return where the recordings are. None: the store must be there already."""
    data = run.config.data
    if data.sources is not None or data.synthetic is None:
        return data.sources
    raw = run.directory.path(files.RAW)
    recorded = record(raw, **data.synthetic.model_dump(), seed=run.config.seed)
    say(f"  {len(recorded)} synthetic recordings in {raw}")
    return [raw]


def _request(run: ResolvedRun, raw: list[str] | None) -> IngestRequest:
    """Return what a run asks for.

    Args:
        run: the run.
        raw: where the recordings are.
    """
    data = run.config.data
    reader = reader_for(data.reader, data.classes)
    classes = None
    if data.classes:
        classes = len(data.classes)
    return IngestRequest(
        raw=raw,
        store=run.config.store,
        reader=reader,
        dataset=data.dataset,
        layout=run.recorded_layout,
        persons=data.persons,
        coordinates=data.coordinates,
        preparation=data.preparation,
        protocols=data.protocol_values(),
        files_per_shard=data.files_per_shard,
        # Of the rows' order alone. It is not the run's, so that runs with other seeds share a
        # store.
        seed=0,
        classes=classes,
        left_out=frozenset(left_out_clips(data.left_out, reader)),
        max_rejected=run.config.ingest.max_rejected,
    )


def _announce(run: ResolvedRun, manifest: dict[str, Any]) -> None:
    """Say what is in the store, and what is not."""
    store = run.config.store
    data = run.config.data
    rejected = manifest["rejected"]
    for reject in rejected[:REJECTS_SHOWN]:
        say(f"  set aside: {reject['name']}: {reject['reason']}")
    if rejected:
        table = storage.join(store, REJECTS)
        say(f"  {len(rejected)} recordings set aside; all of them with reasons: {table}")
    if manifest["left_out"]:
        say(f"  {manifest['left_out']} clips left out, as {data.left_out} says")
    if manifest["flawed"]:
        say(f"  {manifest['flawed']} clips with flaws: {storage.join(store, FLAWS)}")
    check = manifest.get("coordinate_check", {})
    for sentence in check.get("warnings", ()):
        say(f"  warning: {sentence}")
    for sentence in check.get("notes", ()):
        say(f"  {sentence}")
    warning = empty_side_warning(manifest["protocols"], data.protocol)
    if warning:
        say(f"  warning: {warning}")
    sides = manifest["protocols"][data.protocol]
    parts = ", ".join(f"{count} {side}" for side, count in sides.items())
    say(f"  {manifest['clips']} clips in {store} ({data.protocol}: {parts})")


def empty_side_warning(protocols: dict[str, dict[str, int]], chosen: str) -> str | None:
    """Return what to say if a side of a protocol has no clip.

    Args:
        protocols: the name of a protocol -> the name of a side -> its number of clips.
        chosen: the protocol of the run.

    Returns:
        A sentence that names the protocols with clips on both sides; None if `chosen` is one.
    """
    empty = [side for side, clips in protocols[chosen].items() if not clips]
    if not empty:
        return None
    usable = []
    for name, sides in protocols.items():
        if all(sides.values()):
            usable.append(f"data.protocol={name}")
    sentence = f"{chosen}: no clip on its side {' and '.join(empty)}"
    if not usable:
        return f"{sentence}, and no other protocol has clips on both sides"
    return f"{sentence}; with clips on both: {', '.join(usable)}"
