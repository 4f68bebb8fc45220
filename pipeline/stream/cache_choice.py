"""Which cache a stream uses, by the room there is. No Ray.

`memory` maps Arrow blocks that lie in the object store, `device` holds a copy of them on the
worker's device, `none` reads the files all along. `auto` chooses by size: the driver between
`memory` and `none`, and a worker with room on its GPU takes `device` for `memory`.
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
        automatic: whether the user left the choice to us.
        description: the cache and why, for the console.
    """

    cache: Cache
    automatic: bool
    description: str


@dataclass(frozen=True)
class StreamSize:
    """How much a stream serves.

    Attributes:
        clips: selected clips.
        bytes: of their coordinates.
        stores: how many stores they lie in.
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
    """Check that a cache is known, or is `auto`.

    Raises:
        ConfigError: it is not.
    """
    if cache not in ("auto", *CACHES):
        raise ConfigError(f"stream.cache={cache}: allowed are auto, {', '.join(CACHES)}")


def choose_cache(cache: str, size: StreamSize, free: int) -> CacheChoice:
    """Choose a cache on the driver.

    Args:
        cache: `auto`, or the cache that the user wants.
        size: of the clips.
        free: bytes of object store on the node that has least.

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


def choose_on_device(choice: CacheChoice, size: StreamSize, device: torch.device) -> CacheChoice:
    """Choose between the mapped blocks and a copy of them on the device, on a worker.

    Args:
        choice: of the driver, `memory` or `device`.
        size: of the clips.
        device: of the worker.

    Raises:
        UserError: `device` was asked for, and the clips do not fit there.
    """
    wanted = choice.automatic or choice.cache == "device"
    if device.type != "cuda" or not wanted:
        return choice
    free, _ = torch.cuda.mem_get_info(device)
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
    """Return a number of bytes as people read it."""
    if count >= 1e9:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.1f} MB"
