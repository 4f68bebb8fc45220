"""From raw recordings to a clip store, on Ray Data: one task a shard.

The recordings' names, in an order that a seed and the names alone decide, are cut into shards. A task reads, parses and
prepares the recordings of its shard, writes it, and leaves a small report beside it; the driver writes the manifest
last. So memory does not grow with the number of recordings, neither the number of tasks at a time nor their order shows
in the result, and an ingest that was killed goes on with the shards that have no report yet.
"""

import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline import __version__
from pipeline.core import storage
from pipeline.core.console import say
from pipeline.core.errors import ConfigError, UserError, first_line
from pipeline.ingest.formats import (
    FileReader,
    RawRecording,
    Reader,
    Rejected,
    RejectedRecording,
    performance_id,
)
from pipeline.ingest.prepare import PRESETS, prepare
from pipeline.ingest.recording import Parse
from pipeline.ingest.source import Listing, Member, opened
from pipeline.store import protocols as protocol_columns
from pipeline.store.clip_store import (
    FLAWS,
    FORMAT_VERSION,
    INTEGERS,
    MANIFEST,
    REJECTS,
    UNKNOWN,
    ClipStore,
    DamagedStore,
    checksum,
    fingerprint,
    layout_record,
    read_manifest,
    write_manifest,
    write_shard,
)

# What an ingest leaves in the store's directory until the manifest is there: its settings, and a report a shard.
UNFINISHED = "unfinished"
SETTINGS = "settings.json"

Rejects = list[dict[str, str]]


@dataclass(frozen=True)
class Job:
    """What every shard of an ingest shares; sent to its tasks.

    classes: number of labels that there are, None where any is one.
    left_out: ids of clips that are not to be in the store.
    """

    sources: tuple[str, ...]
    store: str
    reader: Reader
    dataset: str
    joints: int
    persons: int
    preparation: str
    classes: int | None
    left_out: frozenset[str]
    seed: int
    metadata: dict[str, Any]


def ingest(
    *,
    raw: Sequence[str] | None,
    store: str,
    reader: Reader,
    dataset: str,
    layout: Any,
    persons: int,
    preparation: str,
    protocols: Mapping[str, Mapping],
    files_per_shard: int,
    seed: int,
    classes: int | None = None,
    left_out: Iterable[str] = (),
    max_rejected: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Make a clip store of raw recordings, or reuse the one that is there; returns its manifest. Needs a connected Ray.

    Args:
        raw: the recordings: directories and zip files. None: the store must be there already.
        store: directory of the store.
        reader: what reads them.
        dataset: a name that goes with every clip and makes its performance ids its own.
        layout: the `SkeletonLayout` of the recordings.
        persons: M, persons of a clip.
        preparation: a name of `PRESETS`.
        protocols: see `pipeline.store.protocols`; the manifest counts the clips on every side.
        files_per_shard: recordings in a shard.
        seed: decides the order of the rows.
        classes: number of classes: a recording with a label beyond them is rejected. None: any label.
        left_out: ids of clips that the data set's authors say to leave out.
        max_rejected: share of the recordings that may be rejected.
        progress: called with the recordings done and all of them whenever a shard is done.

    Raises:
        ConfigError: a store of other settings is there, or a protocol is malformed.
        UserError: no recordings, none that can be used or more rejected than allowed (the reasons are in `rejects.csv`
            of the store), storage that fails, or a protocol with clips on several sides.
    """
    protocol_columns.parse(protocols)
    store = storage.absolute(store)
    preset, left_out = PRESETS[preparation], frozenset(left_out)
    settings = {
        "reader": {"name": reader.name, **asdict(reader)},
        "dataset": dataset,
        "layout": layout_record(layout),
        "persons": persons,
        "preparation": {"name": preset.name, **preset.parameters},
        "classes": classes,
        "left_out": _digest(sorted(left_out)) if left_out else None,
        "files_per_shard": files_per_shard,
        "seed": seed,
    }
    source, dates = None, None
    if raw is not None:
        raw = tuple(storage.absolute(place) for place in raw)
        source, dates = reader.listing(raw), _digest(_dates(raw))
        settings["recordings"] = _digest(_inventory(raw, source))
    manifest = _existing(store, settings)
    if manifest is not None:
        _mind_dates(store, manifest, dates)
        storage.delete_directory(
            storage.join(store, UNFINISHED)
        )  # left where a kill came after the manifest
    else:
        if source is None:
            raise UserError(
                f"{store}: no clip store there; say where the recordings are (data.raw=...)"
            )
        metadata = {
            **{key: settings[key] for key in ("dataset", "layout", "persons", "preparation")},
            "fps": reader.fps,
            "axes": reader.axes,
            "source": ", ".join(storage.name(place) for place in raw),
            "tool": f"skelfuse {__version__}",
        }
        joints = layout.num_joints
        job = Job(
            raw,
            store,
            reader,
            dataset,
            joints,
            persons,
            preparation,
            classes,
            left_out,
            seed,
            metadata,
        )
        progress = progress or (lambda done, total: None)
        manifest = _build(job, source, dates, settings, protocols, max_rejected, progress)
    # A store may be reused under other protocols than it was made with: they are filters, not content.
    columns = ClipStore(store, manifest).index().columns
    protocol_columns.require_disjoint(columns, protocols)
    return manifest | {"protocols": protocol_columns.counts(columns, protocols)}


def require_same_recordings(raw: Sequence[str], store: str, reader: Reader) -> None:
    """Raise ConfigError where recordings are other ones than a store was made of.

    Where a place is not there any more, nothing is compared: a run goes on without its recordings.
    """
    raw = tuple(storage.absolute(place) for place in raw)
    if not all(storage.exists(place) for place in raw):
        return
    manifest = read_manifest(store)
    had = manifest["settings"].get("recordings")
    if had != _digest(_inventory(raw, reader.listing(raw))):
        raise ConfigError(
            f"data.raw: other recordings than {store} was made of; choose another output and data.store, or fresh=true"
        )
    _mind_dates(store, manifest, _digest(_dates(raw)))


def _dates(raw: Sequence[str]) -> Iterator[str]:
    """When the sources were last changed, file by file: what names and sizes do not show."""
    for place in raw:
        if storage.is_directory(place):
            yield from (
                f"{storage.name(file.path)}\t{file.mtime_ns}"
                for file in storage.files(place, recursive=True)
            )
        else:
            yield f"{storage.name(place)}\t{storage.info(place).mtime_ns}"


def _mind_dates(store: str, manifest: Mapping[str, Any], dates: str | None) -> None:
    """Say so where recordings of the same names and sizes have other dates: copied, which does no harm, or changed."""
    if dates is not None and dates != manifest.get("dates"):
        say(
            f"  the recordings have other dates than when {store} was made of them; if they changed, delete it"
        )


def _inventory(raw: Sequence[str], source: Listing) -> Iterator[str]:
    """What makes recordings the same ones, cheap and independent of where they lie: the names and sizes of all, and
    what their companions hold."""
    for member in source.members:
        yield f"{member.name}\t{member.size}"
    if source.facts:
        yield source.facts
    if not source.companions:  # and a source may be a file that is neither folder nor zip
        return
    with opened(raw) as read:
        for member in source.companions:
            try:
                yield f"{member.name}\t{checksum(read(member))}"
            except RejectedRecording as reason:
                yield f"{member.name}\t{reason}"


def _digest(lines: Iterable[str]) -> str:
    """Identity of some lines."""
    return hashlib.blake2b(
        "\n".join(lines).encode("utf-8", "surrogatepass"), digest_size=16
    ).hexdigest()


def _existing(store: str, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The manifest of a whole store made with these settings; None where there is none or a damaged one."""
    if not storage.exists(storage.join(store, MANIFEST)):
        return None
    manifest = read_manifest(store)
    had = manifest["settings"]
    differing = [key for key, value in settings.items() if had.get(key) != value]
    if differing:
        key = differing[0]
        what = (
            ""
            if key in ("recordings", "layout")
            else f": it has {had.get(key)!r}, {settings[key]!r} is asked for"
        )
        raise ConfigError(
            f"{store}: holds a clip store made with other settings ({', '.join(differing)}{what}); "
            "choose another data.store or delete it"
        )
    try:
        found = ClipStore.open(store)
        found.verify()
        return found.manifest
    except DamagedStore:
        if "recordings" not in settings:
            raise
        return None


def _build(
    job: Job,
    source: Listing,
    dates: str,
    settings: dict[str, Any],
    protocols: Mapping[str, Mapping],
    max_rejected: float,
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    members, rejects = _distinct(source.members)
    suffix = job.reader.suffix if isinstance(job.reader, FileReader) else ""
    kept = [member for member in members if member.name.removesuffix(suffix) not in job.left_out]
    ordered = sorted(kept, key=lambda member: _place(job.seed, member.name))
    size = settings["files_per_shard"]
    shards = [ordered[start : start + size] for start in range(0, len(ordered), size)]
    done = _begin(job.store, settings | {"dates": dates})
    reports = [*done.values(), *_run(job, shards, done, progress)]
    reports.sort(key=lambda report: report["number"])
    for report in reports:
        rejects += report["rejects"]
    rejects.sort(key=lambda reject: (reject["name"], reject["reason"]))
    _write_table(storage.join(job.store, REJECTS), ("name", "reason"), rejects)
    flaws = [flaw for report in reports for flaw in report["flaws"]]
    flaws.sort(key=lambda flaw: (flaw["clip_id"], flaw["flaw"]))
    _write_table(storage.join(job.store, FLAWS), ("clip_id", "flaw"), flaws)
    written = [report["shard"] for report in reports if report["shard"]]
    clips = sum(shard["rows"] for shard in written)
    _require_usable(job, rejects, clips, max_rejected)
    # What the rows hold and mean; how they came to be cut into shards does not matter.
    content = {
        key: value
        for key, value in settings.items()
        if key not in ("files_per_shard", "seed", "recordings", "classes", "left_out")
    }
    manifest = {
        "fingerprint": fingerprint(content, written),
        **job.metadata,
        "settings": settings,
        "dates": dates,
        "recordings": len(source.members),
        "left_out": len(members) - len(kept) + sum(report["left_out"] for report in reports),
        "ignored_files": source.ignored,
        "clips": clips,
        "frames": sum(shard["frames"] for shard in written),
        "rejected": rejects,
        "flawed": len({flaw["clip_id"] for flaw in flaws}),
        "shards": written,
    }
    store = ClipStore(job.store, manifest)
    columns = store.index().columns
    manifest = write_manifest(
        job.store,
        manifest
        | {
            "protocols": protocol_columns.counts(columns, protocols),
            **{f"{name}s": _histogram(columns[name]) for name in ("label", "subject", "camera")},
        },
    )
    storage.delete_directory(storage.join(job.store, UNFINISHED))
    return manifest


def _require_usable(job: Job, rejects: Rejects, clips: int, max_rejected: float) -> None:
    """Raise UserError where nothing is left, or more was rejected than is allowed."""
    found = clips + len(rejects)
    if clips and len(rejects) <= max_rejected * found:
        return
    reason = (
        Counter(reject["reason"] for reject in rejects).most_common(1)[0][0]
        if rejects
        else "all are left out"
    )
    if clips:
        what = (
            f"{len(rejects)} of {found} recordings ({len(rejects) / found:.1%}) cannot be used, "
            f"more than ingest.max_rejected={max_rejected:g} allows"
        )
    else:
        what = f"none of {found} recordings can be used"
    table = storage.join(job.store, REJECTS)
    raise UserError(
        f"{', '.join(job.sources)}: {what} (most often: {reason}); every reason is in {table}"
    )


def _distinct(members: Sequence[Member]) -> tuple[list[Member], Rejects]:
    """Keep the first recording of every name; a name is a clip's identity."""
    first: dict[str, Member] = {}
    rejects = []
    for member in members:
        kept = first.setdefault(member.name, member)
        if kept is not member:
            rejects.append({"name": member.path, "reason": f"the same name as {kept.path}"})
    return list(first.values()), rejects


def _place(seed: int, name: str) -> bytes:
    """Where a name comes in the seeded random order: a hash, so that it is the same everywhere."""
    return hashlib.blake2b(
        f"{seed}/{name}".encode("utf-8", "surrogatepass"), digest_size=16
    ).digest()


def _begin(store: str, settings: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Make the store's directory ready; returns the reports of the shards that an interrupted ingest left whole.

    What an ingest of other recordings or settings left, or a damaged store, is taken away, the manifest first.
    """
    storage.make_directory(store)
    storage.delete([storage.join(store, MANIFEST)])
    place = storage.join(store, UNFINISHED)
    begun = storage.join(place, SETTINGS)
    wanted = {"version": FORMAT_VERSION, "tool": __version__, **settings}
    names = {file.base_name for file in storage.files(store)}
    done = {}
    if storage.exists(begun) and storage.read_json(begun) == wanted:
        for file in storage.files(place):
            if re.fullmatch(r"shard-\d+\.json", file.base_name):
                report = storage.read_json(storage.join(place, file.base_name))
                if _is_whole(store, report["shard"], names):
                    done[report["number"]] = report
    else:
        storage.delete_directory(place)
        storage.write_json(begun, wanted)
    kept = {report["shard"]["name"] for report in done.values() if report["shard"]}
    left = [name for name in names if _OURS.fullmatch(name) and name not in kept]
    storage.delete(storage.join(store, name) for name in left)
    return done


# Shards, and what a kill leaves of a file that was being written.
_OURS = re.compile(
    rf"shard-\d+\.parquet|(shard-\d+\.parquet|{MANIFEST}|{REJECTS}|{FLAWS})\.[0-9a-f]{{8}}\.tmp"
)


def _is_whole(store: str, shard: Mapping[str, Any] | None, names: set[str]) -> bool:
    """True where a shard is what its report says; None is the shard of recordings of which none was usable."""
    if shard is None:
        return True
    return (
        shard["name"] in names
        and checksum(storage.read_bytes(storage.join(store, shard["name"]))) == shard["checksum"]
    )


def _run(
    job: Job,
    shards: Sequence[Sequence[Member]],
    done: Mapping[int, Mapping[str, Any]],
    progress: Callable[[int, int], None],
) -> Iterator[dict[str, Any]]:
    """Write the shards that are not done in Ray tasks; yield their reports as they come."""
    import ray

    def task(row: dict[str, Any]) -> dict[str, Any]:
        members = [Member(*member) for member in json.loads(row["members"])]
        try:
            report = write(job, row["shard"], members)
        except (
            UserError
        ) as error:  # as a value: raised here, Ray would print it with its own frames around it
            report = {"error": str(error)}
        return {"report": json.dumps(report)}

    rows = [
        {
            "shard": number,
            "members": json.dumps([(m.name, m.path, m.size, m.source) for m in shard]),
        }
        for number, shard in enumerate(shards)
        if number not in done
    ]
    total, count = (
        sum(len(shard) for shard in shards),
        sum(report["recordings"] for report in done.values()),
    )
    progress(count, total)
    if not rows:
        return
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map(task)
    # Half of the CPUs would be kept for other operators, of which there are none.
    dataset.context.op_resource_reservation_enabled = False
    try:
        for row in dataset.iter_rows():
            report = json.loads(row["report"])
            if "error" in report:
                raise UserError(report["error"])
            count += report["recordings"]
            progress(count, total)
            yield report
    except ray.exceptions.RayError as error:
        raise UserError(
            f"{', '.join(job.sources)}: ingest failed, see Ray's log ({first_line(error)})"
        ) from error


def write(job: Job, number: int, members: Sequence[Member]) -> dict[str, Any]:
    """Read, parse and prepare some recordings and write them as shard `number`, and its report, which is returned.

    Returns:
        number, recordings, rejects (name and reason of each), flaws (clip_id and flaw), left_out (how many clips),
        shard (see `store.write_shard`; None where nothing was usable).
    """
    report: dict[str, Any] = {
        "number": number,
        "recordings": len(members),
        "rejects": [],
        "flaws": [],
        "left_out": 0,
    }
    rows = []
    with job.reader.opened(job.sources, job.joints) as parse:
        for member in members:
            rows += _usable(job, parse, member, report)
    rows.sort(key=lambda row: _place(job.seed, row["clip_id"]))
    location = storage.join(job.store, f"shard-{number:05}.parquet")
    report["shard"] = write_shard(location, rows, job.metadata) if rows else None
    storage.write_json(storage.join(job.store, UNFINISHED, f"shard-{number:05}.json"), report)
    return report


def _usable(
    job: Job, parse: Parse, member: Member, report: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a member; the report gets what is wrong with it."""
    try:
        recordings = parse(member)
    except RejectedRecording as reason:
        report["rejects"].append({"name": member.path, "reason": str(reason)})
        return
    for recording in recordings:
        if isinstance(recording, Rejected):
            report["rejects"].append({"name": recording.name, "reason": recording.reason})
            continue
        if recording.clip_id in job.left_out:
            report["left_out"] += 1
            continue
        try:
            yield _row(job, recording)
        except RejectedRecording as reason:
            alone = len(recordings) == 1  # then the file itself is what cannot be used
            report["rejects"].append(
                {"name": member.path if alone else recording.clip_id, "reason": str(reason)}
            )
            continue
        flaws = _flaws(recording, job.persons)
        report["flaws"] += [{"clip_id": recording.clip_id, "flaw": flaw} for flaw in flaws]


def _row(job: Job, recording: RawRecording) -> dict[str, Any]:
    labels = [recording.label, *(segment[0] for segment in recording.segments or ())]
    beyond = [
        label
        for label in labels
        if label is not None and job.classes is not None and label >= job.classes
    ]
    if beyond:
        raise RejectedRecording(
            f"label {beyond[0]} is not one of the {job.classes} classes (0 to {job.classes - 1})"
        )
    joints, present = prepare(recording, PRESETS[job.preparation], job.persons)
    return {
        "clip_id": recording.clip_id,
        "dataset": job.dataset,
        "performance_id": performance_id(job.dataset, recording.performance),
        **{name: getattr(recording, name) for name in INTEGERS},
        "split": list(recording.split),
        "segments": recording.segments
        and [
            {"label": label, "start": start, "end": end} for label, start, end in recording.segments
        ],
        "num_frames": len(joints),
        "num_persons": present,
        "joints": joints,
    }


def _flaws(recording: RawRecording, persons: int) -> Iterator[str]:
    yield from recording.flaws
    bodies = np.diff(recording.offsets)
    empty = int((bodies == 0).sum())
    if empty:
        yield f"{empty} of {recording.frames} frames hold nobody"
    if bodies.max() > persons:
        yield f"up to {bodies.max()} bodies in a frame, of which {persons} can be kept"


def _write_table(uri: str, columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> None:
    text = io.StringIO()
    table = csv.DictWriter(text, columns)
    table.writeheader()
    table.writerows(rows)
    storage.write_bytes(uri, text.getvalue().encode("utf-8", "backslashreplace"))


def _histogram(values: np.ndarray) -> dict[str, int]:
    found, counts = np.unique(values, return_counts=True)
    return {
        "unknown" if value == UNKNOWN else str(value): int(n)
        for value, n in zip(found, counts, strict=True)
    }
