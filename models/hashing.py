"""Random numbers for the views of a clip, the same in every order, process and device.

They depend only on the seed, the epoch, the clip and the number of the view. The generator is
SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014) in
int64 tensor arithmetic, which wraps around like the unsigned original and gives the same bits on
the CPU and the GPU.
"""

from __future__ import annotations

import torch
from torch import Tensor

_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB
# A float32 holds 24 bits exactly.
_BITS = 24


def uniform(seed: int, epoch: int, ids: Tensor, draw: int, count: int) -> Tensor:
    """Draw uniform numbers for one view of each clip.

    A clip's numbers are the first `count` outputs of SplitMix64, the upper 24 bits of each. Its
    first state is a hash of seed, epoch, draw and id, in this order.

    Args:
        seed: of the run.
        epoch: number of the epoch.
        ids: int64 [B], of the clips.
        draw: number of the view among the views of a clip.
        count: how many numbers each clip gets.

    Returns:
        float32 [B, count] in [0, 1), on the device of `ids`.

    Raises:
        ValueError: The ids are not int64.
    """
    if ids.dtype != torch.int64:
        raise ValueError(f"ids must be int64, got {ids.dtype}")
    state = _mix(ids + _signed(_key(seed, epoch, draw) + _STEP))
    steps = torch.arange(1, count + 1, device=ids.device) * _signed(_STEP)
    words = _mix(state[:, None] + steps)
    return _shift(words, 64 - _BITS).float() * 2.0**-_BITS


def _signed(word: int) -> int:
    """The int64 with the low 64 bits of `word`."""
    word &= _MASK
    if word >> 63:
        return word - (1 << 64)
    return word


def _shift(x: Tensor, bits: int) -> Tensor:
    """Shift right and fill with zeros; torch's own shift repeats the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(z: Tensor) -> Tensor:
    """SplitMix64's output function, on tensors."""
    z = (z ^ _shift(z, 30)) * _signed(_FIRST)
    z = (z ^ _shift(z, 27)) * _signed(_SECOND)
    return z ^ _shift(z, 31)


def _key(*words: int) -> int:
    """Hash the words one after the other, so that (1, 2) and (2, 1) have nothing in common."""
    key = 0
    for word in words:
        z = (key + _STEP + word) & _MASK
        z = ((z ^ (z >> 30)) * _FIRST) & _MASK
        z = ((z ^ (z >> 27)) * _SECOND) & _MASK
        key = z ^ (z >> 31)
    return key
