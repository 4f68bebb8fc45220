"""The selected clips as blocks in the object store, read once by Ray Data."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
import ray.data

from pipeline.core.arithmetic import ceil_div
from pipeline.core.errors import UserError, first_line
from pipeline.stream.instructions import READ_CPUS, Shards, read_pieces

# Ray lets a block grow to half as much again: 120 MB.
BLOCK_BYTES = 80 << 20


def load_blocks(shards: Shards, ids: np.ndarray, sizes: np.ndarray) -> tuple[ray.ObjectRef, ...]:
    """Read clips into the object store.

    Args:
        shards: the shards of the store.
        ids: int64 [N], the ids of the clips, ascending.
        sizes: int64 [N], the bytes of each clip, from the index of the store.

    Returns:
        References to Arrow tables of `joints` and `id`, in order.

    Raises:
        UserError: a shard cannot be read, or holds other clips than its index says.
    """
    # A gather visits every block, so there should be few. By itself Ray would cut even a small
    # store into two hundred.
    tasks = ceil_div(int(sizes.sum()), BLOCK_BYTES)
    dataset = shards.instructions(ids, tasks).map_batches(
        read_pieces, batch_size=None, batch_format="pyarrow", num_cpus=READ_CPUS
    )
    dataset.context.target_max_block_size = BLOCK_BYTES
    dataset.context.execution_options.preserve_order = True
    try:
        blocks = dataset.materialize().to_arrow_refs()
        contents = ray.get([_contents.remote(block) for block in blocks])
    except ray.exceptions.RayError as error:
        raise UserError(first_line(error)) from error

    found_ids = np.concatenate([block_ids for block_ids, _ in contents])
    found_sizes = np.concatenate([block_sizes for _, block_sizes in contents])
    if not (np.array_equal(found_ids, ids) and np.array_equal(found_sizes, sizes)):
        raise UserError(
            f"{shards.uris[0]} ...: shards hold other clips than their index says; "
            "ingest them again"
        )
    return tuple(blocks)


@ray.remote(num_cpus=0)
def _contents(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids of a block's clips, and the bytes of each."""
    return table["id"].to_numpy(), pc.binary_length(table["joints"]).to_numpy()
