"""Which recording goes into which shard. The recordings' names and a seed alone decide it.

members    b  a  d  c  a'       a' has the name of a: a duplicate, rejected
kept       b  a  d  c           without what the authors of the data set say to leave out
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
    """All that is decided about an ingest before the first recording is read.

    Attributes:
        request: what is asked for.
        recordings: what was found.
        settings: what the store is identified by, see `settings_of`.
        job: what all shards share.
        shards: the recordings of each shard.
        duplicates: recordings that have the name of an earlier one.
        left_out: how many recordings are left out unread.
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
        request: what is asked for.
        recordings: what was found.
        settings: see `pipeline.ingest.settings.settings_of`.
    """
    distinct, duplicates = _distinct(recordings.listing.members)
    # Names that say what a file holds let it be left out unread. Other readers name clips when they
    # read.
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
