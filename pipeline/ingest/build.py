"""From a request to a clip store, whoever writes its shards.

    recordings -> plan: which recording goes into which shard
               -> shards and their reports, written by tasks in any order, or left by an ingest that
               was killed -> manifest, last

The names of the recordings and a seed alone decide the plan. So neither the number of tasks nor
their order shows in the store, memory does not grow with the number of recordings, and a killed
ingest goes on with the shards that it lacks.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline.core import storage
from pipeline.core.console import say
from pipeline.core.errors import UserError
from pipeline.ingest import resume
from pipeline.ingest.assemble import assemble
from pipeline.ingest.plan import IngestPlan, plan_ingest
from pipeline.ingest.resume import ShardReport
from pipeline.ingest.settings import (
    IngestRequest,
    existing_store,
    find_recordings,
    settings_of,
    warn_of_other_dates,
)
from pipeline.ingest.shard import IngestJob
from pipeline.ingest.source import Member
from pipeline.store import protocols
from pipeline.store.clip_store import ClipStore

# Writes shards (recordings by the shard's number) and yields their reports in any order.
WriteShards = Callable[[IngestJob, Mapping[int, Sequence[Member]]], Iterator[ShardReport]]
# Called with the number of recordings that are done and of all.
Progress = Callable[[int, int], None]


def build_store(
    request: IngestRequest, write_shards: WriteShards, progress: Progress | None = None
) -> dict[str, Any]:
    """Make a clip store of raw recordings, or reuse the one that is there.

    Args:
        request: what is asked for.
        write_shards: what writes the shards.
        progress: called at the beginning and whenever a shard is done.

    Returns:
        The manifest.

    Raises:
        ConfigError: a store of other settings is there, or a protocol is malformed.
        UserError: there are no recordings, none can be used or more are rejected than allowed (the
            reasons are in `rejects.csv` of the store), storage fails, or a protocol has clips on
            several sides.
    """
    protocols.parse(request.protocols)
    request = replace(request, store=storage.absolute(request.store))
    recordings = None
    if request.raw is not None:
        recordings = find_recordings(request.raw, request.reader)
        for note in recordings.listing.notes:
            say(f"  {note}")
    settings = settings_of(request, recordings)

    manifest = existing_store(request.store, settings)
    if manifest is not None:
        if recordings is not None:
            warn_of_other_dates(request.store, manifest, recordings)
        resume.conclude(request.store)
    elif recordings is not None:
        plan = plan_ingest(request, recordings, settings)
        manifest = _build(plan, write_shards, progress)
    else:
        raise UserError(
            f"{request.store}: no clip store there; say where the recordings are (data.raw=...)"
        )

    # A store may be reused under other protocols than it was made with: they are filters, not
    # content.
    columns = ClipStore(request.store, manifest).index().columns
    protocols.require_disjoint(columns, request.protocols)
    return manifest | {"protocols": protocols.counts(columns, request.protocols)}


def _build(
    plan: IngestPlan, write_shards: WriteShards, progress: Progress | None
) -> dict[str, Any]:
    """Write the shards that are not there yet, and then the manifest, which is returned."""
    store = plan.request.store
    finished = resume.begin(store, plan.settings | {"dates": plan.recordings.dates})
    missing = {}
    for number, members in enumerate(plan.shards):
        if number not in finished:
            missing[number] = members

    reports = list(finished.values())
    total = sum(len(members) for members in plan.shards)
    done = sum(report.recordings for report in reports)
    if progress:
        progress(done, total)
    for report in write_shards(plan.job, missing):
        reports.append(report)
        done += report.recordings
        if progress:
            progress(done, total)

    reports.sort(key=lambda report: report.number)
    manifest = assemble(plan, reports)
    resume.conclude(store)
    return manifest
