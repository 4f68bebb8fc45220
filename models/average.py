"""An exponential moving average of an encoder's weights, which changes less from step to step."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from models.backbone import Backbone


def average_of(backbone: Backbone) -> Backbone:
    """Return an average that holds the weights of an encoder so far. It gets no gradient."""
    return copy.deepcopy(backbone).requires_grad_(False)


@torch.no_grad()
def update_average(average: Backbone, backbone: Backbone, decay: float) -> None:
    """Move an average towards an encoder: decay * average + (1 - decay) * encoder.

    This holds for all weights, and for the statistics of normalisations. Whole numbers, such as how
    many batches a normalisation has seen, are those of the encoder. All tensors are changed
    together, and no device is waited for.

    Args:
        average: of the same form as `backbone`. It is changed.
        backbone: the encoder that is trained.
        decay: 0 to 1. With 0 the average becomes the encoder; with 1 it stays.
    """
    averaged: list[Tensor] = []
    targets: list[Tensor] = []
    current = backbone.state_dict()
    for name, value in average.state_dict().items():
        if value.is_floating_point():
            averaged.append(value)
            targets.append(current[name])
        else:
            value.copy_(current[name])
    torch._foreach_lerp_(averaged, targets, 1 - decay)
