"""Choosing the cache of a stream by the free memory. This module does not import Ray.

With `memory` the clips stay in Ray's object store, with `device` each worker has a copy of them on
its GPU, and with `none` every epoch reads the files. `auto` chooses by size: the driver chooses
`memory` or `none`, and a worker with room on its GPU then uses `device` instead of `memory`.
"""

from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

import torch

from pipeline.core.errors import ConfigError, UserError

Cache = Literal["memory", "device", "none"]
CACHES: tuple[Cache, ...] = get_args(Cache)

# `auto` leaves the rest of the object store to reading, evaluation and others on the node.
OBJECT_STORE_SHARE = 0.6
# `auto` leaves the rest of the GPU to the model.
GPU_SHARE = 0.3


@dataclass(frozen=True)
class CacheChoice:
    """The cache of a stream.

    Attributes:
        cache: the cache.
        automatic: whether the user left the choice to the program.
        description: the cache and why, for the console.
    """

    cache: Cache
    automatic: bool
    description: str


@dataclass(frozen=True)
class StreamSize:
    """The size of the clips that a stream reads.

    Attributes:
        clips: the number of selected clips.
        bytes: the size of their coordinates.
        stores: the number of stores that they come from.
    """

    clips: int
    bytes: int
    stores: int = 1

    @property
    def clip_bytes(self) -> int:
        """Mean bytes of a clip."""
        return self.bytes // self.clips

    def __str__(self) -> str:
        many = f" of {self.stores} stores" if self.stores > 1 else ""
        return f"{self.clips:,} clips{many} of {size_text(self.bytes)}"


def require_cache(cache: str) -> None:
    """Check the name of a cache.

    Raises:
        ConfigError: the name is unknown.
    """
    if cache not in ("auto", *CACHES):
        raise ConfigError(f"stream.cache={cache}: allowed are auto, {', '.join(CACHES)}")


def choose_cache(cache: str, size: StreamSize, free: int) -> CacheChoice:
    """Choose a cache on the driver.

    Args:
        cache: `auto`, or the cache that the user wants.
        size: the size of the clips.
        free: the free object store, in bytes, of the node that has least.

    Raises:
        ConfigError: the object store cannot hold the clips that the user wants there.
    """
    if cache == "auto":
        room = (
            f"{OBJECT_STORE_SHARE:.0%} of the smallest node's {size_text(free)} of free "
            "object store"
        )
        if size.bytes <= OBJECT_STORE_SHARE * free:
            return CacheChoice("memory", True, f"stream: cache memory, {size} fit {room}")
        return CacheChoice("none", True, f"stream: cache none, {size} exceed {room}")
    if cache != "none" and size.bytes > free:
        raise ConfigError(
            f"stream.cache={cache}: {size_text(size.bytes)} of clips exceed the smallest node's "
            f"{size_text(free)} of free object store; use none, or give it more "
            "(cluster.object_store_gb)"
        )
    return CacheChoice(cast(Cache, cache), False, f"stream: cache {cache}, {size}, as set")


def choose_on_device(
    choice: CacheChoice, size: StreamSize, device: torch.device, gpu_share: float = 1.0
) -> CacheChoice:
    """Choose on a worker between the object store and a copy of the clips on its device.

    Args:
        choice: the choice of the driver, `memory` or `device`.
        size: the size of the clips.
        device: the device of the worker.
        gpu_share: the part of the GPU that is this worker's; others have the rest.

    Raises:
        UserError: `device` was asked for, and the clips do not fit there.
    """
    wanted = choice.automatic or choice.cache == "device"
    if device.type != "cuda" or not wanted:
        return choice
    free, total = torch.cuda.mem_get_info(device)
    # Whoever comes first on a shared GPU must not take what the others are going to need.
    free = min(free, int(gpu_share * total))
    if choice.automatic:
        room = f"{GPU_SHARE:.0%} of the GPU's {size_text(free)} free"
        if size.bytes <= GPU_SHARE * free:
            clips = f"{size.clips:,} clips of {size_text(size.bytes)}"
            description = f"stream: cache device, {clips} fit {room}"
            return replace(choice, cache="device", description=description)
        description = f"{choice.description}; more than {room}"
        return replace(choice, cache="memory", description=description)
    if size.bytes > free:
        raise UserError(
            f"stream.cache=device: {size_text(size.bytes)} of clips do not fit the GPU's "
            f"{size_text(free)} free; use memory"
        )
    return choice


def size_text(count: int) -> str:
    """Return a number of bytes in MB or GB, such as `1.5 GB`."""
    if count >= 1e9:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.1f} MB"
