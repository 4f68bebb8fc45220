"""Guidance by relations: which clips resemble a clip, as the fused feature sees it.

Shapes: N clips of the global batch, D features.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from models.alignment import check_pair
from models.precision import full_precision
from models.soft_targets import Targets, soft_cross_entropy


class Relations(nn.Module):
    """Relational distillation from soft targets, in the manner of ReSSL (Zheng et al., 2021).

    The loss is mean_i -sum_j P_ij log softmax_j(cos(x_i, x_j) / temperature), over the neighbours j
    of clip i, see `Targets`.

    Args:
        temperature: divides the cosines; above 0.

    Raises:
        ValueError: The temperature is not positive, or `forward` gets fewer than two clips.
    """

    def __init__(self, temperature: float) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.temperature = temperature

    def forward(self, x_ND: Tensor, targets: Targets) -> Tensor:
        """Return the loss [] of one feature or projection [N, D].

        Args:
            x_ND: row i comes from clip i.
            targets: with `similar` and `neighbours`.
        """
        check_pair(x_ND, x_ND)
        return _relational(x_ND, self.temperature, targets)


@full_precision
def _relational(x_ND: Tensor, temperature: float, targets: Targets) -> Tensor:
    assert targets.similar is not None
    assert targets.neighbours is not None
    directions_ND = F.normalize(x_ND, dim=1)
    logits_NN = directions_ND @ directions_ND.T / temperature
    return soft_cross_entropy(logits_NN, targets.similar, ~targets.neighbours)
