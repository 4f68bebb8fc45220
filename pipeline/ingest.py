"""From raw recordings to a clip store, on Ray Data: one task a shard.

The recordings' names, in an order that a seed and the names alone decide, are cut into shards. A task reads, parses and
prepares the recordings of its shard, writes it, and returns a small report; the driver writes the manifest last. So
memory does not grow with the number of recordings, and neither the number of tasks at a time nor their order shows in
the result.
"""

import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline import __version__, storage
from pipeline import protocols as protocol_columns
from pipeline.errors import ConfigError, UserError, first_line
from pipeline.preparation import PRESETS, prepare
from pipeline.readers import READERS, RejectedRecording, performance_id
from pipeline.readers.source import Listing, Member, Read, listing, opened
from pipeline.store import (
    MANIFEST,
    REJECTS,
    UNKNOWN,
    ClipStore,
    DamagedStore,
    fingerprint,
    layout_record,
    read_manifest,
    write_manifest,
    write_shard,
)

Rejects = list[dict[str, str]]


@dataclass(frozen=True)
class Job:
    """What every shard of an ingest shares; sent to its tasks."""

    raw: str
    store: str
    reader: str
    dataset: str
    joints: int
    persons: int
    preparation: str
    metadata: dict[str, Any]


def ingest(
    *,
    raw: str | None,
    store: str,
    reader: str,
    dataset: str,
    layout: Any,
    persons: int,
    preparation: str,
    protocols: Mapping[str, Mapping],
    files_per_shard: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Make a clip store of raw recordings, or reuse the one that is there; returns its manifest. Needs a connected Ray.

    Args:
        raw: the recordings: a directory or a zip file. None: the store must be there already.
        store: directory of the store.
        reader: a name of `READERS`.
        dataset: a name that goes with every clip and makes its performance ids its own.
        layout: the `SkeletonLayout` of the recordings.
        persons: M, persons of a clip.
        preparation: a name of `PRESETS`.
        protocols: see `pipeline.protocols`; the manifest counts the clips on every side.
        files_per_shard: recordings in a shard.
        seed: decides the order of the rows.
        progress: called with the recordings done and all of them whenever a shard is done.

    Raises:
        ConfigError: a store of other settings is there, or a protocol is malformed.
        UserError: no recordings, none that can be used (the reasons are in `rejects.csv`), storage that fails, or a
            protocol with clips on several sides.
    """
    protocol_columns.parse(protocols)
    store = storage.absolute(store)
    kind, preset = READERS[reader], PRESETS[preparation]
    settings = {
        "reader": reader,
        "dataset": dataset,
        "layout": layout_record(layout),
        "persons": persons,
        "preparation": {"name": preset.name, **preset.parameters},
        "files_per_shard": files_per_shard,
        "seed": seed,
    }
    source = None
    if raw is not None:
        raw = storage.absolute(raw)
        source = listing(raw, kind.suffix)
        settings["recordings"] = _inventory(source)
    manifest = _existing(store, settings)
    if manifest is None:
        if source is None:
            raise UserError(f"{store}: no clip store there; say where the recordings are (data.raw=...)")
        metadata = {
            **{key: settings[key] for key in ("dataset", "layout", "persons", "preparation")},
            "fps": kind.fps,
            "axes": kind.axes,
            "source": storage.name(raw),
            "tool": f"skelfuse {__version__}",
        }
        job = Job(raw, store, reader, dataset, layout.num_joints, persons, preparation, metadata)
        manifest = _build(job, source, settings, files_per_shard, seed, protocols, progress)
    # A store may be reused under other protocols than it was made with: they are filters, not content.
    columns = ClipStore(store, manifest).index().columns
    protocol_columns.require_disjoint(columns, protocols)
    return manifest | {"protocols": protocol_columns.counts(columns, protocols)}


def _inventory(source: Listing) -> str:
    """Identity of the recordings by name and size: cheap, and independent of where they lie."""
    text = "\n".join(f"{member.name}\t{member.size}" for member in source.members)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _existing(store: str, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The manifest of a whole store made with these settings; None where there is none or a damaged one."""
    if not storage.exists(storage.join(store, MANIFEST)):
        return None
    manifest = read_manifest(store)
    had = manifest["settings"]
    differing = [key for key, value in settings.items() if had.get(key) != value]
    if differing:
        key = differing[0]
        what = "" if key in ("recordings", "layout") else f": it has {had.get(key)!r}, {settings[key]!r} is asked for"
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
    settings: dict[str, Any],
    files_per_shard: int,
    seed: int,
    protocols: Mapping[str, Mapping],
    progress: Callable[[int, int], None] | None,
) -> dict[str, Any]:
    members, rejects = _distinct(source.members)
    ordered = sorted(members, key=lambda member: _place(seed, member.name))
    shards = [ordered[start : start + files_per_shard] for start in range(0, len(ordered), files_per_shard)]
    _clear(job.store)
    written = []
    for report in _run(job, shards, progress or (lambda done, total: None)):
        rejects += report["rejects"]
        written += [report["shard"]] if report["shard"] else []
    rejects.sort(key=lambda reject: (reject["name"], reject["reason"]))
    written.sort(key=lambda shard: shard["name"])
    _write_rejects(job.store, rejects)
    if not written:
        reasons = Counter(reject["reason"] for reject in rejects).most_common(1)[0][0]
        raise UserError(
            f"{job.raw}: none of {len(source.members)} recordings can be used (most often: {reasons}); "
            f"every reason is in {storage.join(job.store, REJECTS)}"
        )
    content = {key: value for key, value in settings.items() if key not in ("files_per_shard", "seed", "recordings")}
    manifest = {
        "fingerprint": fingerprint(content, written),
        **job.metadata,
        "settings": settings,
        "recordings": len(source.members),
        "ignored_files": source.ignored,
        "clips": sum(shard["rows"] for shard in written),
        "frames": sum(shard["frames"] for shard in written),
        "rejected": rejects,
        "shards": written,
    }
    store = ClipStore(job.store, manifest)
    columns = store.index().columns
    return write_manifest(
        job.store,
        manifest
        | {
            "protocols": protocol_columns.counts(columns, protocols),
            **{f"{name}s": _histogram(columns[name]) for name in ("label", "subject", "camera")},
        },
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
    return hashlib.blake2b(f"{seed}/{name}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _clear(store: str) -> None:
    """Take away what an interrupted or damaged ingest left, the manifest first; nothing else is touched."""
    storage.make_directory(store)
    storage.delete([storage.join(store, MANIFEST)])
    left = [file.base_name for file in storage.files(store) if re.fullmatch(r"shard-\d+\.parquet", file.base_name)]
    storage.delete(storage.join(store, name) for name in left)


def _run(job: Job, shards: Sequence[Sequence[Member]], progress: Callable[[int, int], None]):
    """Write all shards in Ray tasks; yield their reports as they come."""
    import ray

    def task(row: dict[str, Any]) -> dict[str, Any]:
        members = [Member(*member) for member in json.loads(row["members"])]
        try:
            report = write(job, row["shard"], members)
        except UserError as error:  # as a value: raised here, Ray would print it with its own frames around it
            report = {"error": str(error)}
        return {"report": json.dumps(report)}

    rows = [
        {"shard": number, "members": json.dumps([(m.name, m.path, m.size) for m in shard])}
        for number, shard in enumerate(shards)
    ]
    total, done = sum(len(shard) for shard in shards), 0
    progress(done, total)
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map(task)
    try:
        for row in dataset.iter_rows():
            report = json.loads(row["report"])
            if "error" in report:
                raise UserError(report["error"])
            done += report["recordings"]
            progress(done, total)
            yield report
    except ray.exceptions.RayError as error:
        raise UserError(f"{job.raw}: ingest failed, see Ray's log ({first_line(error)})") from error


def write(job: Job, number: int, members: Sequence[Member]) -> dict[str, Any]:
    """Read, parse and prepare some recordings and write them as shard `number`; returns its report.

    Returns:
        recordings, rejects (name and reason of each), shard (see `store.write_shard`; None where nothing was usable).
    """
    rows, rejects = [], []
    with opened(job.raw) as read:
        for member in members:
            try:
                rows += _rows(job, member, read)
            except RejectedRecording as reason:
                rejects.append({"name": member.path, "reason": str(reason)})
    location = storage.join(job.store, f"shard-{number:05}.parquet")
    shard = write_shard(location, rows, job.metadata) if rows else None
    return {"recordings": len(members), "rejects": rejects, "shard": shard}


def _rows(job: Job, member: Member, read: Read) -> list[dict[str, Any]]:
    rows = []
    for recording in READERS[job.reader].parse(member.name, read(member), job.joints):
        joints, present = prepare(recording, PRESETS[job.preparation], job.persons)
        rows.append(
            {
                "clip_id": recording.clip_id,
                "dataset": job.dataset,
                "performance_id": performance_id(job.dataset, recording.performance),
                "label": recording.label,
                "subject": recording.subject,
                "camera": recording.camera,
                "setup": recording.setup,
                "replication": recording.replication,
                "num_frames": len(joints),
                "num_persons": present,
                "joints": joints,
            }
        )
    return rows


def _write_rejects(store: str, rejects: Rejects) -> None:
    text = io.StringIO()
    table = csv.DictWriter(text, ("name", "reason"))
    table.writeheader()
    table.writerows(rejects)
    storage.write_bytes(storage.join(store, REJECTS), text.getvalue().encode("utf-8", "backslashreplace"))


def _histogram(values: np.ndarray) -> dict[str, int]:
    found, counts = np.unique(values, return_counts=True)
    return {"unknown" if value == UNKNOWN else str(value): int(n) for value, n in zip(found, counts, strict=True)}
