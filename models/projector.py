"""The heads between features and losses; used in pretraining only."""

from __future__ import annotations

from torch import nn

from models.batchnorm import GlobalBatchNorm1d


def projector(inputs: int, hidden: int, output: int, layers: int) -> nn.Sequential:
    """`layers` linear layers with batch normalisation over the global batch and ReLU between them.

    Takes [n, inputs], or [G, n, inputs] to project G features at once with batch statistics of their own each.
    Raises ValueError where a size is not at least 1.
    """
    if min(inputs, hidden, output, layers) < 1:
        raise ValueError(
            f"a projector needs sizes of at least 1, got {inputs}-{hidden}-{output} in {layers} layers"
        )
    modules: list[nn.Module] = []
    for _ in range(layers - 1):
        modules += [nn.Linear(inputs, hidden), GlobalBatchNorm1d(hidden), nn.ReLU()]
        inputs = hidden
    return nn.Sequential(*modules, nn.Linear(inputs, output))
