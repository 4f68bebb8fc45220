"""Random numbers that depend on what they are for, not on when or where they are drawn.

SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014) in int64 tensor arithmetic,
which wraps around like the unsigned original and gives the same bits on the CPU and the GPU.
"""

from __future__ import annotations

import torch
from torch import Tensor

_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def _signed(word: int) -> int:
    """The int64 with the low 64 bits of `word`."""
    word &= _MASK
    return word - (1 << 64) if word >> 63 else word


def _shift(x: Tensor, bits: int) -> Tensor:
    """Shift right that fills with zeros; torch's own repeats the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shift(z, 30)) * _signed(_FIRST)
    z = (z ^ _shift(z, 27)) * _signed(_SECOND)
    return z ^ _shift(z, 31)


def _key(*words: int) -> int:
    """The words hashed one after the other, so that (1, 2) and (2, 1) have nothing in common."""
    key = 0
    for word in words:
        z = (key + _STEP + word) & _MASK
        z = ((z ^ (z >> 30)) * _FIRST) & _MASK
        z = ((z ^ (z >> 27)) * _SECOND) & _MASK
        key = z ^ (z >> 31)
    return key


def uniform(seed: int, epoch: int, ids: Tensor, draw: int, count: int) -> Tensor:
    """`count` uniform numbers a clip for one of its views.

    A clip's numbers are the first `count` outputs of SplitMix64, the upper 24 bits of each, from a state hashed out of
    seed, epoch, draw and id, in this order.

    ids: int64 [B]. Returns float32 [B, count] in [0, 1), on the device of `ids`.
    """
    if ids.dtype != torch.int64:
        raise ValueError(f"ids must be int64, got {ids.dtype}")
    state = _mix(ids + _signed(_key(seed, epoch, draw) + _STEP))
    steps = torch.arange(1, count + 1, device=ids.device) * _signed(_STEP)
    return _shift(_mix(state[:, None] + steps), 40).float() * 2.0**-24
