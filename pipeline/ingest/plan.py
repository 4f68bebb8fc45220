"""Assigning recordings to shards. The result depends on their names and a seed alone.

members    b  a  d  c  a'       a' has the name of a: a duplicate, rejected
kept       b  a  d  c           without the recordings that are to be left out
ordered    d  a  c  b           by a hash of seed and name
shards     [d a] [c b]          files_per_shard=2
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.ingest.recording import FileReader, Rejected
from pipeline.ingest.settings import IngestRequest, Recordings
from pipeline.ingest.shard import IngestJob, seeded_order
from pipeline.ingest.source import Member


@dataclass(frozen=True)
class IngestPlan:
    """The decisions of an ingest before it reads the first recording.

    Attributes:
        request: the request for a store.
        recordings: the recordings that were found.
        settings: the settings that identify the store, see `settings_of`.
        job: the values that all shards share.
        shards: the recordings of each shard.
        duplicates: recordings that have the name of an earlier one.
        left_out: the number of recordings that are left out unread.
    """

    request: IngestRequest
    recordings: Recordings
    settings: dict[str, Any]
    job: IngestJob
    shards: list[list[Member]]
    duplicates: list[Rejected]
    left_out: int


def plan_ingest(
    request: IngestRequest, recordings: Recordings, settings: dict[str, Any]
) -> IngestPlan:
    """Put recordings into a random order and cut them into shards.

    Args:
        request: the request for a store.
        recordings: the recordings that were found.
        settings: see `pipeline.ingest.settings.settings_of`.
    """
    distinct, duplicates = _distinct(recordings.listing.members)
    # With a reader of single files, the name of a file is the name of its clip, so a clip can be
    # left out unread. Other readers know the names of clips only after reading.
    suffix = ""
    if isinstance(request.reader, FileReader):
        suffix = request.reader.suffix
    kept = []
    for member in distinct:
        if member.name.removesuffix(suffix) not in request.left_out:
            kept.append(member)
    kept.sort(key=lambda member: seeded_order(request.seed, member.name))
    size = request.files_per_shard
    return IngestPlan(
        request=request,
        recordings=recordings,
        settings=settings,
        job=IngestJob.of(request, recordings.sources, settings),
        shards=[kept[start : start + size] for start in range(0, len(kept), size)],
        duplicates=duplicates,
        left_out=len(distinct) - len(kept),
    )


def _distinct(members: Sequence[Member]) -> tuple[list[Member], list[Rejected]]:
    """Keep the first recording of every name: a name is a clip's identity."""
    first: dict[str, Member] = {}
    duplicates = []
    for member in members:
        kept = first.setdefault(member.name, member)
        if kept is not member:
            duplicates.append(Rejected(member.path, f"the same name as {kept.path}"))
    return list(first.values()), duplicates
