"""Statistics, softmax and regularisers are computed in full precision, whatever autocast is on around them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import wraps

import torch
from torch import Tensor


def widen(x: Tensor) -> Tensor:
    """float32 of a narrower tensor; float32 and float64 as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def full_precision(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function, with its tensor arguments widened to at least float32 and autocast off inside it."""

    @wraps(function)
    def wrapped(*arguments):
        device = next(a.device.type for a in arguments if isinstance(a, Tensor))
        has_autocast = torch.amp.is_autocast_available(device)  # the "meta" device has not
        with torch.autocast(device, enabled=False) if has_autocast else nullcontext():
            return function(*(widen(a) if isinstance(a, Tensor) else a for a in arguments))

    return wrapped
