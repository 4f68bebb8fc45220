"""Full precision for statistics, softmax and regularisers, also under autocast."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import ParamSpec

import torch
from torch import Tensor

Arguments = ParamSpec("Arguments")


def widen(x: Tensor) -> Tensor:
    """Return a narrower tensor as float32, and float32 and float64 as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def full_precision(function: Callable[Arguments, Tensor]) -> Callable[Arguments, Tensor]:
    """Decorate a function so that it computes in full precision.

    Args:
        function: takes at least one tensor by position.

    Returns:
        The function, with its tensor arguments widened to at least float32, and with autocast
        switched off inside it.
    """
    compute: Callable[..., Tensor] = function

    @wraps(function)
    def wrapped(*arguments: Arguments.args, **options: Arguments.kwargs) -> Tensor:
        device = next(value.device.type for value in arguments if isinstance(value, Tensor))
        wide = map(_widen_tensor, arguments)
        # The "meta" device, on which costs are counted, has no autocast to switch off.
        context: AbstractContextManager = nullcontext()
        if torch.amp.is_autocast_available(device):
            context = torch.autocast(device, enabled=False)
        with context:
            return compute(*wide, **options)

    return wrapped


def _widen_tensor(value: object) -> object:
    return widen(value) if isinstance(value, Tensor) else value
