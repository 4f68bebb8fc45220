"""Computing statistics of every clip of a store, in tasks of Ray Data.

A task reads coordinates and returns only their statistics.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import ray.data
from ray.exceptions import RayError

from models.skeleton import SkeletonLayout
from pipeline.card.statistics import statistics
from pipeline.core.console import Bar
from pipeline.core.errors import UserError, first_line
from pipeline.store.blocks import table_to_clips
from pipeline.store.clip_store import ClipStore
from pipeline.stream.instructions import instructions, read_pieces


def measure(store: ClipStore, layout: SkeletonLayout) -> dict[str, np.ndarray]:
    """Measure all clips of a store. This needs a connected Ray.

    Args:
        store: an opened store.
        layout: the skeleton layout of the store.

    Returns:
        The columns of `statistics`, one row for each clip, in the order of their ids.

    Raises:
        UserError: a shard cannot be read.
    """
    columns: dict[str, np.ndarray] = {}
    done = 0
    try:
        with Bar("inspect", store.clips, unit="clips") as bar:
            # Parts come back in any order. Their ids say to which rows they belong.
            for part in _described(store, layout).iter_batches(
                batch_format="numpy", batch_size=None
            ):
                ids = part.pop("id")
                for name, values in part.items():
                    if name not in columns:
                        shape = (store.clips, *values.shape[1:])
                        columns[name] = np.empty(shape, values.dtype)
                    columns[name][ids] = values
                done += len(ids)
                bar.update(done)
    except RayError as error:
        raise UserError(f"inspect: {first_line(error)}") from error
    if done != store.clips:
        raise RuntimeError(f"{store.uri}: {done} of {store.clips} clips were read")
    return columns


def _described(store: ClipStore, layout: SkeletonLayout) -> ray.data.Dataset:
    """The statistics of all clips as a dataset that computes them while it is read."""
    described = instructions(store, np.arange(store.clips)).map_batches(
        _describe,  # type: ignore[arg-type]  # Ray's type knows no further arguments
        fn_kwargs={"persons": store.persons, "layout": layout},
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=1,
    )
    # Ray would keep half of the CPUs for other operators, but this is the only one.
    described.context.op_resource_reservation_enabled = False
    return described


def _describe(
    pieces: pa.Table, persons: int, layout: SkeletonLayout
) -> Iterator[dict[str, np.ndarray]]:
    """Read pieces of the store and describe their clips; runs in a task."""
    for rows in read_pieces(pieces):
        clips = table_to_clips(rows, persons, layout.num_joints)
        columns = statistics(clips.frames.numpy(), clips.offsets.numpy(), layout)
        yield columns | {"id": rows["id"].to_numpy()}
