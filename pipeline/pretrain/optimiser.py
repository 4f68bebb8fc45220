"""The optimisers that training offers."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from pipeline.config.train import Optimiser


def _sgd(parameters: Iterable[nn.Parameter], **settings: Any) -> torch.optim.SGD:
    return torch.optim.SGD(parameters, momentum=0.9, **settings)


OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": _sgd,
}


def build_optimiser(
    parameters: Iterable[nn.Parameter], settings: Optimiser
) -> torch.optim.Optimizer:
    """Make the configured optimiser for `parameters`, at its base learning rate."""
    make = OPTIMISERS[settings.name]
    return make(parameters, lr=settings.lr, weight_decay=settings.weight_decay)
