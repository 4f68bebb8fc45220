"""The clip stream: the driver plans it once, and every training worker opens its share.

The driver selects clips of one store or several, chooses a cache, and for `memory` and `device`
reads the clips into the object store. The plan that it hands to workers is small.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import ray
import torch

from pipeline.cluster.ray_internals import free_object_store_bytes
from pipeline.core.errors import ConfigError
from pipeline.stream.cache_choice import (
    CacheChoice,
    StreamSize,
    choose_cache,
    choose_on_device,
    require_cache,
)
from pipeline.stream.caches.clip_stream import ClipStream, WorkerShare
from pipeline.stream.caches.device import DeviceStream
from pipeline.stream.caches.files import FileStream
from pipeline.stream.caches.memory import MemoryStream
from pipeline.stream.epochs import Epochs
from pipeline.stream.instructions import Shards
from pipeline.stream.object_store_blocks import load_blocks
from pipeline.stream.reader import ClipReader, ShardFiles
from pipeline.stream.reading_list import ReadingList, RowGroups
from pipeline.stream.selection import Part, Selection, select


@dataclass(frozen=True)
class FrameShape:
    """What one frame of every clip holds: M persons with V joints."""

    persons: int
    joints: int


@dataclass(frozen=True)
class FileSource:
    """Where the cache `none` reads.

    Attributes:
        shards: the files.
        row_groups: reference to the `RowGroups` that hold selected rows.
        window: clips within which a worker shuffles.
    """

    shards: Shards
    row_groups: ray.ObjectRef
    window: int


@dataclass(frozen=True)
class StreamPlan:
    """What workers need to open their streams. It can be pickled and is small.

    The blocks live as long as the process that made the plan holds it. Plans that differ in batch
    size or seed share them: `replace(plan, epochs=replace(plan.epochs, seed=1))`.

    Attributes:
        choice: the cache, and why.
        epochs: how an epoch is cut into batches.
        size: how many clips and bytes are selected.
        shape: of a frame.
        selection: reference to the `Selection`.
        blocks: references to Arrow tables of the selected clips in order (`memory`, `device`).
        files: what is read (`none`).
    """

    choice: CacheChoice
    epochs: Epochs
    size: StreamSize
    shape: FrameShape
    selection: ray.ObjectRef
    blocks: tuple[ray.ObjectRef, ...] = ()
    files: FileSource | None = None

    @property
    def cache(self) -> str:
        """The cache that the driver chose."""
        return self.choice.cache

    @property
    def description(self) -> str:
        """The cache and why, for the console."""
        return self.choice.description

    def worker(
        self,
        rank: int,
        world_size: int,
        device: torch.device | str = "cpu",
        gpu_share: float = 1.0,
    ) -> ClipStream:
        """Open the stream of one worker.

        Args:
            rank: which worker.
            world_size: how many there are.
            device: where batches are wanted.
            gpu_share: the part of the GPU that is this worker's.

        Raises:
            ConfigError: a batch has fewer clips than there are workers.
            UserError: the cache `device` was asked for and the clips do not fit there.
        """
        device = torch.device(device)
        self.epochs.require(world_size)
        share = WorkerShare(
            epochs=self.epochs,
            rank=rank,
            world_size=world_size,
            device=device,
            selection=ray.get(self.selection),
            persons=self.shape.persons,
            joints=self.shape.joints,
        )
        if self.files is not None:
            return self._from_files(share, self.files)
        choice = choose_on_device(self.choice, self.size, device, gpu_share)
        if choice.cache == "device":
            # One table after another: they are copied and let go.
            tables = (ray.get(block) for block in self.blocks)
            return DeviceStream(share, choice.description, tables)
        return MemoryStream(share, choice.description, ray.get(list(self.blocks)))

    def _from_files(self, share: WorkerShare, source: FileSource) -> FileStream:
        row_groups = ray.get(source.row_groups)
        reading = ReadingList(self.epochs, row_groups, share.rank, share.world_size)
        files = ShardFiles(
            shards=source.shards,
            ids=share.selection.ids,
            width=share.width,
            clip_bytes=self.size.clip_bytes,
            window=source.window,
        )

        def start_reader(epoch: int, position: int) -> ClipReader:
            return ClipReader(reading, files, epoch, position)

        return FileStream(share, self.description, start_reader)


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

    With `memory` and `device` this reads the selected clips into the object store, once.

    Args:
        parts: which clips; all stores are read as the same layout and number of persons.
        batch_size: clips of a global batch, at most.
        seed: of every order.
        cache: `auto`, `memory`, `device` or `none`.
        window: clips within which a worker shuffles with `none`; it holds two windows.
        pairs: `cameras` brings with every clip another camera's clip of its performance; `none`.
        workers: how many there will be, to find out now if they cannot share a batch.

    Raises:
        ConfigError: the cache is unknown or cannot hold the clips, a batch has fewer clips than
            there are workers, a weight leaves no clip, or pairs cannot be had.
        UserError: a part holds no clip, or a shard cannot be read.
    """
    require_cache(cache)
    stores = [part.store for part in parts]
    selection = select(parts, with_pairs=pairs == "cameras")
    bytes_of_clips = selection.lengths * stores[0].bytes_per_frame
    size = StreamSize(len(selection), int(bytes_of_clips.sum()), len(parts))
    choice = choose_cache(cache, size, free_object_store_bytes())
    if pairs == "cameras":
        choice = _with_pairs(choice, selection)
    epochs = selection.epochs(batch_size, seed)
    epochs.require(workers)

    # The request is a possible one: only now read clips, which may take minutes.
    shards = Shards.of(stores)
    blocks: tuple[ray.ObjectRef, ...] = ()
    files = None
    if choice.cache == "none":
        row_groups = RowGroups.of(shards.rows, selection.ids)
        files = FileSource(shards, ray.put(row_groups), window)
    else:
        blocks = load_blocks(shards, selection.ids, bytes_of_clips)
    shape = FrameShape(stores[0].persons, stores[0].joints)
    return StreamPlan(choice, epochs, size, shape, ray.put(selection), blocks, files)


def _with_pairs(choice: CacheChoice, selection: Selection) -> CacheChoice:
    """Check that pairs can be had, and say how many there are.

    Raises:
        ConfigError: they cannot be had with this cache, or there are none.
    """
    if choice.cache == "none":
        raise ConfigError(
            "stream.pairs=cameras: takes clips from anywhere in the store; stream.cache=none "
            "cannot: it reads the files in an order of its own; use memory or device, with an "
            "object store that holds all clips (cluster.object_store_gb)"
        )
    paired = selection.pairs.paired_clips if selection.pairs else 0
    if not paired:
        raise ConfigError(
            "stream.pairs=cameras: no performance was seen by two of the selected cameras; use none"
        )
    description = f"{choice.description}; {paired:,} of them with another camera's clip"
    return replace(choice, description=description)
