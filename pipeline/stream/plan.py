"""The clip stream: the driver plans it over selected rows of one or more stores, every training worker opens its share.

Three caches behind one interface (`pipeline.stream.caches`): `memory` maps Arrow blocks that Ray Data left in the object
store, `device` holds a copy of them on the worker's device, `none` reads the files all along. `auto` chooses by size.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
import ray.data
import torch

from pipeline.core.errors import ConfigError, UserError, first_line
from pipeline.store.clip_store import ClipStore
from pipeline.store.protocols import Side
from pipeline.stream.caches import DeviceStream, FileStream, MemoryStream, Rank, Stream
from pipeline.stream.epochs import Epochs, Pairs, ReadingList, RowGroups
from pipeline.stream.reader import READ_CPUS, Reader, Shards, read_pieces

Cache = Literal["memory", "device", "none"]

# `auto` leaves the rest of the object store to reading, evaluation and whoever else works on the node.
OBJECT_STORE_SHARE = 0.6
# `auto` leaves the rest of the GPU to the model.
GPU_SHARE = 0.3
# Ray lets a block grow to half as much again: 120 MB.
BLOCK_BYTES = 80 << 20


@dataclass(frozen=True)
class Part:
    """Some clips of a store. `weight`: the share of them, above 0 and at most 1, that every epoch draws anew."""

    store: ClipStore
    side: Side
    weight: float = 1.0


@dataclass(frozen=True)
class StreamPlan:
    """What workers need to open their streams; picklable and small, the clips themselves lie in the object store.

    The blocks live as long as the process that made the plan holds it. Plans that differ in `batch_size` or `seed`
    share them: `dataclasses.replace(plan, seed=1)`.

    description: the cache and why, for the console.
    automatic: the user left the choice to us, so that a worker with room on its GPU may take `device` for `memory`.
    index: reference to {"ids", "lengths", "pairs"}: int64 [N], id and frames of every selected clip, and which of them
        are pairs, if batches shall bring them. A clip's id is its row number, in the stores after the first one after
        the rows of those before.
    parts: see `Epochs`.
    blocks: references to Arrow tables of the selected rows in order (`memory`, `device`).
    shards, row_groups: the files and the selected rows in them (`none`).
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
    parts: tuple[tuple[int, int], ...] = ()
    blocks: tuple[ray.ObjectRef, ...] = ()
    shards: Shards | None = None
    row_groups: ray.ObjectRef | None = None

    @property
    def epochs(self) -> Epochs:
        """How an epoch is cut into batches."""
        served = sum(taken for _, taken in self.parts) if self.parts else self.clips
        return Epochs(served, self.batch_size, self.seed, self.parts)

    def worker(self, rank: int, world_size: int, device: torch.device | str = "cpu") -> Stream:
        """Open one worker's stream; batches come on `device`.

        Raises:
            ConfigError: a batch has fewer clips than there are workers.
            UserError: `device` was asked for and the clips do not fit there.
        """
        device = torch.device(device)
        self.epochs.require(world_size)
        index = ray.get(self.index)
        share = Rank(
            self.epochs, rank, world_size, device, **index, persons=self.persons, joints=self.joints
        )
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
            return Reader(
                reading, self.window, share.ids, self.shards, share.width, size, epoch, position
            )

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
    parts: Sequence[Part],
    *,
    batch_size: int,
    seed: int,
    cache: str = "auto",
    window: int = 4096,
    pairs: str = "none",
    workers: int = 1,
) -> StreamPlan:
    """Plan the stream over clips of one store or several, on the driver of a connected Ray.

    With `memory` and `device` this reads the selected rows into the object store, once.

    Args:
        parts: which clips; all stores read as the same layout and number of persons.
        batch_size: clips of a global batch, at most.
        seed: of every order.
        cache: `auto`, `memory`, `device` or `none`.
        window: clips within which a worker shuffles with `none`; two windows of clips are what it holds.
        pairs: `cameras`: a batch brings with every clip another camera's clip of the same performance; or `none`.
        workers: how many there will be, to find out now that a batch cannot be shared by them.

    Raises:
        ConfigError: an unknown cache, a batch with fewer clips than workers, clips that the object store cannot hold,
            a weight that leaves no clip, pairs that cannot be had or that are none.
        UserError: a part holds no clip, or a shard cannot be read.
    """
    if cache not in ("auto", *get_args(Cache)):
        raise ConfigError(f"stream.cache={cache}: allowed are auto, {', '.join(get_args(Cache))}")
    stores = [part.store for part in parts]
    ids, lengths, counts, paired = _select(parts, pairs == "cameras")
    clip_bytes = int(lengths.sum()) * stores[0].bytes_per_frame
    chosen, reason = _choose(cache, clip_bytes)
    many = f" of {len(parts)} stores" if len(parts) > 1 else ""
    if paired:
        reason += f"; {_pairs(chosen, paired):,} of them with another camera's clip"
    shards = Shards.of(stores)
    plan = StreamPlan(
        cache=chosen,
        automatic=cache == "auto",
        description=f"stream: cache {chosen}, {len(ids):,} clips{many} of {_size(clip_bytes)}{reason}",
        clips=len(ids),
        clip_bytes=clip_bytes,
        persons=stores[0].persons,
        joints=stores[0].joints,
        batch_size=batch_size,
        seed=seed,
        window=window,
        index=ray.put({"ids": ids, "lengths": lengths, "pairs": paired}),
        parts=counts,
    )
    plan.epochs.require(workers)
    if chosen == "none":
        return replace(plan, shards=shards, row_groups=ray.put(RowGroups.of(shards.rows, ids)))
    return replace(plan, blocks=_blocks(shards, ids, lengths * stores[0].bytes_per_frame))


def _select(
    parts: Sequence[Part], paired: bool
) -> tuple[np.ndarray, np.ndarray, tuple[tuple[int, int], ...], Pairs | None]:
    """Ids and frames of the selected clips, int64 [N]; (clips, clips an epoch) of the parts if it takes not all; and
    the pairs if asked for.
    """
    ids, lengths, performances, cameras, counts, rows = [], [], [], [], [], 0
    for part in parts:
        index = part.store.index()
        chosen = part.store.select(part.side, index)
        taken = round(part.weight * len(chosen))
        if not taken:
            raise ConfigError(
                f"{part.side}: weight={part.weight:g} of {len(chosen)} clips leaves none"
            )
        ids.append(rows + chosen)
        lengths.append(index.num_frames[chosen])
        performances.append(index.performance_id[chosen])
        cameras.append(index.camera[chosen])
        counts.append((len(chosen), taken))
        rows += len(index)
    whole = all(there == taken for there, taken in counts)
    pairs = Pairs.of(np.concatenate(performances), np.concatenate(cameras)) if paired else None
    return np.concatenate(ids), np.concatenate(lengths), () if whole else tuple(counts), pairs


def _pairs(cache: Cache, pairs: Pairs) -> int:
    """How many clips have another camera's; ConfigError where there are none or they cannot be had."""
    if cache == "none":
        raise ConfigError(
            "stream.pairs=cameras: takes clips from anywhere in the store; stream.cache=none cannot: it reads the "
            "files in an order of its own; use memory or device, with an object store that holds all clips "
            "(cluster.object_store_gb)"
        )
    if not (found := int((pairs.count > 0).sum())):
        raise ConfigError(
            "stream.pairs=cameras: no performance was seen by two of the selected cameras; use none"
        )
    return found


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

    return int(
        min(node.get("object_store_memory", 0) for node in available_resources_per_node().values())
    )


def _blocks(shards: Shards, ids: np.ndarray, sizes: np.ndarray) -> tuple[ray.ObjectRef, ...]:
    """Read the selected clips into the object store with Ray Data; returns tables of `joints` and `id`."""
    # Ray cuts a small store into two hundred blocks, and a gather visits every block: as many as their size asks for.
    tasks = -(-int(sizes.sum()) // BLOCK_BYTES)
    dataset = shards.instructions(ids, tasks).map_batches(
        read_pieces, batch_size=None, batch_format="pyarrow", num_cpus=READ_CPUS
    )
    dataset.context.target_max_block_size = BLOCK_BYTES
    dataset.context.execution_options.preserve_order = True
    try:
        blocks = dataset.materialize().to_arrow_refs()
        found = ray.get([_contents.remote(block) for block in blocks])
    except ray.exceptions.RayError as error:
        raise UserError(first_line(error)) from error
    found_ids, found_sizes = (np.concatenate(values) for values in zip(*found, strict=True))
    if not (np.array_equal(found_ids, ids) and np.array_equal(found_sizes, sizes)):
        raise UserError(
            f"{shards.uris[0]} ...: shards hold other clips than their index says; ingest them again"
        )
    return tuple(blocks)


@ray.remote(num_cpus=0)
def _contents(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids of a block's clips and the bytes of each."""
    return table["id"].to_numpy(), pc.binary_length(table["joints"]).to_numpy()


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
