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
    """Make the configured optimiser, at its base learning rate.

    Args:
        parameters: of the framework. It is for those that get a gradient: an average gets none.
        settings: see `Optimiser`.
    """
    make = OPTIMISERS[settings.name]
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    return make(trained, lr=settings.lr, weight_decay=settings.weight_decay)
