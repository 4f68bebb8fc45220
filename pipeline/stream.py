"""The clip stream: the driver plans it over the selected rows of a store, every training worker opens its share.

Three caches behind one interface (`pipeline.caches`): `memory` maps Arrow blocks that Ray Data left in the object
store, `device` holds a copy of them on the worker's device, `none` reads the files all along. `auto` chooses by size.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
import ray.data
import torch

from pipeline import storage
from pipeline.caches import DeviceStream, FileStream, MemoryStream, Rank, Stream
from pipeline.epochs import Epochs, ReadingList, RowGroups
from pipeline.errors import ConfigError, UserError, first_line
from pipeline.protocols import Side, expression
from pipeline.reader import READ_CPUS, Reader
from pipeline.store import ClipStore

Cache = Literal["memory", "device", "none"]

# `auto` leaves the rest of the object store to reading, evaluation and whoever else works on the node.
OBJECT_STORE_SHARE = 0.6
# `auto` leaves the rest of the GPU to the model.
GPU_SHARE = 0.3
# Ray lets a block grow to half as much again: 120 MB.
BLOCK_BYTES = 80 << 20


@dataclass(frozen=True)
class StreamPlan:
    """What workers need to open their streams; picklable and small, the clips themselves lie in the object store.

    The blocks live as long as the process that made the plan holds it. Plans that differ in `batch_size` or `seed`
    share them: `dataclasses.replace(plan, seed=1)`.

    description: the cache and why, for the console.
    automatic: the user left the choice to us, so that a worker with room on its GPU may take `device` for `memory`.
    index: reference to {"ids", "lengths"}: int64 [N], row number and frames of every selected clip.
    blocks: references to Arrow tables of the selected rows in order (`memory`, `device`).
    uris, row_groups: shards and the selected rows in them (`none`).
    """

    cache: Cache
    automatic: bool
    description: str
    clips: int
    clip_bytes: int
    persons: int
    joints: int
    batch_size: int
    seed: int
    window: int
    index: ray.ObjectRef
    blocks: tuple[ray.ObjectRef, ...] = ()
    uris: tuple[str, ...] = ()
    row_groups: ray.ObjectRef | None = None

    @property
    def epochs(self) -> Epochs:
        """How an epoch is cut into batches."""
        return Epochs(self.clips, self.batch_size, self.seed)

    def worker(self, rank: int, world_size: int, device: torch.device | str = "cpu") -> Stream:
        """Open one worker's stream; batches come on `device`.

        Raises:
            ConfigError: a batch has fewer clips than there are workers.
            UserError: `device` was asked for and the clips do not fit there.
        """
        device = torch.device(device)
        self.epochs.require(world_size)
        index = ray.get(self.index)
        share = Rank(self.epochs, rank, world_size, device, **index, persons=self.persons, joints=self.joints)
        if self.cache == "none":
            return self._from_files(share)
        cache, description = self._on(device)
        if cache == "memory":
            return MemoryStream(share, description, ray.get(list(self.blocks)))
        return DeviceStream(share, description, (ray.get(block) for block in self.blocks))

    def _from_files(self, share: Rank) -> FileStream:
        reading = ReadingList(self.epochs, ray.get(self.row_groups), share.rank, share.world_size)

        def start(epoch: int, position: int) -> Reader:
            size = self.clip_bytes // self.clips
            return Reader(reading, self.window, share.ids, self.uris, share.width, size, epoch, position)

        return FileStream(share, self.description, start)

    def _on(self, device: torch.device) -> tuple[Cache, str]:
        """Choose between the blocks and a copy on the device."""
        if device.type != "cuda" or not (self.automatic or self.cache == "device"):
            return self.cache, self.description
        free, _ = torch.cuda.mem_get_info(device)
        if self.automatic:
            fits = self.clip_bytes <= GPU_SHARE * free
            room = f"{GPU_SHARE:.0%} of the GPU's {_size(free)} free"
            size = _size(self.clip_bytes)
            if fits:
                return "device", f"stream: cache device, {self.clips:,} clips of {size} fit {room}"
            return "memory", f"{self.description}; more than {room}"
        if self.clip_bytes > free:
            raise UserError(
                f"stream.cache=device: {_size(self.clip_bytes)} of clips do not fit the GPU's {_size(free)} free; "
                "use memory"
            )
        return "device", self.description


def open_stream(
    store: ClipStore,
    side: Side,
    *,
    batch_size: int,
    seed: int,
    cache: str = "auto",
    window: int = 4096,
    workers: int = 1,
) -> StreamPlan:
    """Plan the stream of one side of a protocol, on the driver of a connected Ray.

    With `memory` and `device` this reads the selected rows into the object store, once.

    Args:
        store: the clips.
        side: which of them.
        batch_size: clips of a global batch, at most.
        seed: of every order.
        cache: `auto`, `memory`, `device` or `none`.
        window: clips within which a worker shuffles with `none`; two windows of clips are what it holds.
        workers: how many there will be, to find out now that a batch cannot be shared by them.

    Raises:
        ConfigError: an unknown cache, a batch with fewer clips than workers, clips that the object store cannot hold.
        UserError: the side holds no clip, or a shard cannot be read.
    """
    if cache not in ("auto", *get_args(Cache)):
        raise ConfigError(f"stream.cache={cache}: allowed are auto, {', '.join(get_args(Cache))}")
    index = store.index()
    ids = store.select(side, index)
    lengths = index.num_frames[ids]
    clip_bytes = int(lengths.sum()) * store.bytes_per_frame
    Epochs(len(ids), batch_size, seed).require(workers)
    chosen, reason = _choose(cache, clip_bytes)
    content = {}
    if chosen == "none":
        rows = [shard["row_groups"] for shard in store.manifest["shards"]]
        content = {"uris": tuple(store.paths), "row_groups": ray.put(RowGroups.of(rows, ids))}
    else:
        content = {"blocks": _blocks(store, side, index.clip_id[ids], lengths * store.bytes_per_frame)}
    return StreamPlan(
        cache=chosen,
        automatic=cache == "auto",
        description=f"stream: cache {chosen}, {len(ids):,} clips of {_size(clip_bytes)}{reason}",
        clips=len(ids),
        clip_bytes=clip_bytes,
        persons=store.persons,
        joints=store.joints,
        batch_size=batch_size,
        seed=seed,
        window=window,
        index=ray.put({"ids": ids, "lengths": lengths}),
        **content,
    )


def _choose(cache: str, clip_bytes: int) -> tuple[Cache, str]:
    """Return the cache and the reason, as the end of a sentence about the clips."""
    free = free_object_store()
    if cache == "auto":
        room = f"{OBJECT_STORE_SHARE:.0%} of the smallest node's {_size(free)} of free object store"
        if clip_bytes <= OBJECT_STORE_SHARE * free:
            return "memory", f" fit {room}"
        return "none", f" exceed {room}"
    if cache != "none" and clip_bytes > free:
        raise ConfigError(
            f"stream.cache={cache}: {_size(clip_bytes)} of clips exceed the smallest node's {_size(free)} of free "
            "object store; use none, or give it more (cluster.object_store_gb)"
        )
    return cache, ", as set"


def free_object_store() -> int:
    """Return the bytes that are free in the object store of the node that has least of them."""
    # Ray has no public call for what a single node has left.
    from ray._private.state import available_resources_per_node

    return int(min(node.get("object_store_memory", 0) for node in available_resources_per_node().values()))


def _blocks(store: ClipStore, side: Side, clip_ids: np.ndarray, sizes: np.ndarray) -> tuple[ray.ObjectRef, ...]:
    """Read the selected rows into the object store with Ray Data; returns tables of `joints` and `clip_id`."""
    filesystem, _ = storage.resolve(store.uri)
    paths = [storage.resolve(uri)[1] for uri in store.paths]
    filtered = len(clip_ids) < store.clips
    columns = ["joints", "clip_id"]
    by = sorted({name for terms in side.anyof for name, _ in terms}) if filtered else []
    # Ray cuts a small store into two hundred blocks, and a gather visits every block: as many as their size asks for.
    tasks = min(len(paths), -(-int(sizes.sum()) // BLOCK_BYTES))
    dataset = ray.data.read_parquet(
        paths,
        filesystem=filesystem,
        partitioning=None,  # a store below a directory label=7 holds what its rows say
        columns=columns + by,
        num_cpus=READ_CPUS,
        override_num_blocks=tasks,
    )
    if filtered:
        dataset = dataset.filter(expr=expression(side), num_cpus=READ_CPUS).select_columns(columns)
    dataset.context.target_max_block_size = BLOCK_BYTES
    dataset.context.execution_options.preserve_order = True
    try:
        blocks = dataset.materialize().to_arrow_refs()
        found = ray.get([_contents.remote(block) for block in blocks])
    except ray.exceptions.RayError as error:
        raise UserError(f"{store.uri}: a shard cannot be read ({first_line(error)})") from error
    found_ids, found_sizes = (np.concatenate(values) for values in zip(*found, strict=True))
    if not (np.array_equal(found_ids, clip_ids) and np.array_equal(found_sizes, sizes)):
        raise UserError(f"{store.uri}: shards hold other clips than the index says; ingest it again")
    return tuple(blocks)


@ray.remote(num_cpus=0)
def _contents(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Return the clip ids of a block and the bytes of each clip."""
    return np.array(table["clip_id"].to_pylist(), dtype=str), pc.binary_length(table["joints"]).to_numpy()


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
