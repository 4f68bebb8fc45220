"""Guidance by prototypes: learned categories without labels, in equal use over the batch.

Shapes: N clips of the global batch, D features, K prototypes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.alignment import check_pair
from models.precision import full_precision


class Prototypes(nn.Module):
    """Swapped prediction of SwAV (Caron et al., 2020): one feature predicts the other's category.

    The scores s of a feature are its cosines to K learned prototypes. Its category q is its row of
    the balanced assignment of the batch to the prototypes (see `balanced`), without gradient. The
    other feature predicts it as p = softmax(s / temperature). The loss is
    mean_i -sum_k q_ik log p_ik, of b's categories predicted from a, averaged with a's predicted
    from b. Without the second half no gradient would reach the modules that made b.

    Args:
        width: D.
        count: K, at least 2.
        temperature: divides the scores that predict; above 0.
        epsilon: see `balanced`; above 0.
        iterations: see `balanced`; above 0.

    Raises:
        ValueError: A setting is out of range, or `forward` gets fewer than two clips.
    """

    def __init__(
        self, width: int, count: int, temperature: float, epsilon: float, iterations: int
    ) -> None:
        super().__init__()
        if count < 2:
            raise ValueError(f"at least two prototypes are needed, got {count}")
        settings = {"temperature": temperature, "epsilon": epsilon, "iterations": iterations}
        for name, value in settings.items():
            if value <= 0:
                raise ValueError(f"{name} of the prototypes must be positive, got {value}")
        self.prototypes = nn.Parameter(torch.empty(count, width).normal_())
        self.temperature = temperature
        self.epsilon = epsilon
        self.iterations = iterations

    def forward(self, a_ND: Tensor, b_ND: Tensor) -> Tensor:
        """Return the loss [] of projections of the global batch, row i of both from clip i."""
        check_pair(a_ND, b_ND)
        return _swapped(
            a_ND, b_ND, self.prototypes, self.temperature, self.epsilon, self.iterations
        )


@full_precision
def _swapped(
    a_ND: Tensor,
    b_ND: Tensor,
    prototypes_KD: Tensor,
    temperature: float,
    epsilon: float,
    iterations: int,
) -> Tensor:
    directions_DK = F.normalize(prototypes_KD, dim=1).T
    scores_a_NK = F.normalize(a_ND, dim=1) @ directions_DK
    scores_b_NK = F.normalize(b_ND, dim=1) @ directions_DK
    # The categories are targets: no gradient reaches what they were made from.
    category_a_NK = balanced(scores_a_NK.detach(), epsilon, iterations)
    category_b_NK = balanced(scores_b_NK.detach(), epsilon, iterations)
    b_from_a = F.cross_entropy(scores_a_NK / temperature, category_b_NK)
    a_from_b = F.cross_entropy(scores_b_NK / temperature, category_a_NK)
    return (b_from_a + a_from_b) / 2


@full_precision
def balanced(scores_NK: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Assign clips to prototypes, evenly over the batch, by Sinkhorn-Knopp.

    The computation runs in logarithms, which do not overflow for any epsilon.

    Args:
        scores_NK: of N clips at K prototypes.
        epsilon: a smaller one makes harder assignments.
        iterations: with more of them each column comes nearer to N / K.

    Returns:
        Assignments [N, K]; each row sums to 1.
    """
    logs_NK = scores_NK / epsilon
    for _ in range(iterations):
        logs_NK = logs_NK - logs_NK.logsumexp(0, keepdim=True)
        logs_NK = logs_NK - logs_NK.logsumexp(1, keepdim=True)
    return logs_NK.exp()
