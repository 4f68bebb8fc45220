"""Statistics of every clip of a store, in Ray Data tasks: coordinates never leave the task that reads them."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from ray.exceptions import RayError

from models.skeleton import SkeletonLayout
from pipeline.card.statistics import statistics
from pipeline.cluster.session import hushed
from pipeline.core.console import Bar
from pipeline.core.errors import UserError, first_line
from pipeline.store.blocks import table_to_clips
from pipeline.store.clip_store import ClipStore
from pipeline.stream.reader import instructions, read_pieces


def measure(store: ClipStore, layout: SkeletonLayout, quiet: bool) -> dict[str, np.ndarray]:
    """Return `statistics` of all clips of a store, one row a clip in the order of their ids. Needs a connected Ray.

    Raises UserError where a shard cannot be read.
    """
    described = instructions(store, np.arange(store.clips)).map_batches(
        _describe,
        fn_kwargs={"persons": store.persons, "layout": layout},
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=1,
    )
    described.context.op_resource_reservation_enabled = (
        False  # all CPUs: there is no other operator to keep some for
    )
    columns, done = {}, 0
    try:
        with Bar("inspect", store.clips, unit="clips") as bar, hushed(quiet):
            for part in described.iter_batches(batch_format="numpy", batch_size=None):
                ids = part.pop("id")
                for name, values in part.items():
                    kind = (
                        values.dtype if values.dtype != object else "U32"
                    )  # text comes back as objects
                    column = columns.setdefault(
                        name, np.empty((store.clips, *values.shape[1:]), kind)
                    )
                    column[ids] = values
                done += len(ids)
                bar.update(done)
    except RayError as error:
        raise UserError(f"inspect: {first_line(error)}") from error
    if done != store.clips:
        raise RuntimeError(f"{store.uri}: {done} of {store.clips} clips were read")
    return columns


def _describe(
    pieces: pa.Table, persons: int, layout: SkeletonLayout
) -> Iterator[dict[str, np.ndarray]]:
    for rows in read_pieces(pieces):
        clips = table_to_clips(rows, persons, layout.num_joints)
        columns = statistics(clips.frames.numpy(), clips.offsets.numpy(), layout)
        yield columns | {"id": rows["id"].to_numpy()}
