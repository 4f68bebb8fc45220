"""Writing the shards of an ingest on a Ray cluster, one task for each shard.

No other module of `ingest` imports Ray.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple
from typing import Any

import ray
import ray.data
from ray.exceptions import RayError

from pipeline.core.errors import UserError, first_line
from pipeline.ingest.build import Progress, build_store
from pipeline.ingest.resume import ShardReport
from pipeline.ingest.settings import IngestRequest
from pipeline.ingest.shard import IngestJob, ingest_shard
from pipeline.ingest.source import Member


def ingest_recordings(request: IngestRequest, progress: Progress | None = None) -> dict[str, Any]:
    """Make or reuse a clip store. Ray tasks write its shards, so this needs a connected Ray.

    Args:
        request: the request for a store.
        progress: called with the number of recordings done and the number of all recordings.

    Returns:
        The manifest.

    Raises:
        ConfigError, UserError: see `pipeline.ingest.build.build_store`.
    """
    return build_store(request, write_shards_on_ray, progress)


def write_shards_on_ray(
    job: IngestJob, shards: Mapping[int, Sequence[Member]]
) -> Iterator[ShardReport]:
    """Write shards in Ray tasks.

    Args:
        job: what all shards share.
        shards: the recordings of each shard, by its number.

    Yields:
        Their reports, as they come.

    Raises:
        UserError: a task failed.
    """
    if not shards:
        return

    def task(row: dict[str, Any]) -> dict[str, Any]:
        members = [Member(*member) for member in json.loads(row["members"])]
        try:
            report = ingest_shard(job, row["shard"], members)
        except UserError as error:
            # Returned as a value, because Ray would wrap a raised error in a long traceback.
            return {"report": json.dumps({"error": str(error)})}
        return {"report": json.dumps(report.to_json())}

    rows = []
    for number, members in shards.items():
        rows.append(
            {"shard": number, "members": json.dumps([astuple(member) for member in members])}
        )
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map(task)
    # Ray would keep half of the CPUs for other operators, but this is the only one.
    dataset.context.op_resource_reservation_enabled = False
    try:
        for row in dataset.iter_rows():
            values = json.loads(row["report"])
            if "error" in values:
                raise UserError(values["error"])
            yield ShardReport.from_json(values)
    except RayError as error:
        raise UserError(
            f"{', '.join(job.sources)}: ingest failed, see Ray's log ({first_line(error)})"
        ) from error
