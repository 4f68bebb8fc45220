"""The projectors between features and losses. Only pretraining uses them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from models.batchnorm import GlobalBatchNorm1d


@dataclass(frozen=True)
class ProjectorSizes:
    """The sizes of a projector, without its input.

    Args:
        hidden: width of the hidden layers.
        output: width of the result.
        layers: number of linear layers.
    """

    hidden: int
    output: int
    layers: int


def build_projector(inputs: int, sizes: ProjectorSizes) -> nn.Sequential:
    """Build linear layers with batch normalisation over the global batch and ReLU between them.

    UmURL's projector is 2048-BN-ReLU-2048-BN-ReLU-4096. The module takes [n, inputs], or
    [G, n, inputs] to project G features at once, each by its own batch statistics.

    Raises:
        ValueError: A size is not at least 1.
    """
    hidden = sizes.hidden
    if min(inputs, hidden, sizes.output, sizes.layers) < 1:
        raise ValueError(
            f"a projector needs sizes of at least 1, "
            f"got {inputs}-{hidden}-{sizes.output} in {sizes.layers} layers"
        )
    modules: list[nn.Module] = []
    width = inputs
    for _ in range(sizes.layers - 1):
        modules += [nn.Linear(width, hidden), GlobalBatchNorm1d(hidden), nn.ReLU()]
        width = hidden
    modules.append(nn.Linear(width, sizes.output))
    return nn.Sequential(*modules)
