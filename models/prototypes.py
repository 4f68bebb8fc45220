"""Guidance as a category without labels: prototypes, and assignments to them that are balanced over the batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.alignment import check_pair
from models.precision import full_precision


class Prototypes(nn.Module):
    """Swapped prediction of SwAV (Caron et al., 2020): one feature of a clip predicts the other's category.

    A feature's scores s are its cosines to `count` learned prototypes. Its category q is its row of the balanced
    assignment of the batch to the prototypes (see `balanced`), taken as given; the other feature predicts it as
    p = softmax(s / temperature). The loss is mean_i -sum_k q_ik log p_ik, of b's categories predicted from a averaged
    with a's predicted from b: without the latter nothing would train what b was made with.

    a, b are projections of the global batch, [N, width], row i of both from clip i; all workers compute the same.
    Raises ValueError for fewer than two prototypes or clips, and for settings that are not positive.
    """

    def __init__(self, width: int, count: int, temperature: float, epsilon: float, iterations: int):
        super().__init__()
        if count < 2:
            raise ValueError(f"at least two prototypes are needed, got {count}")
        for name, value in (
            ("temperature", temperature),
            ("epsilon", epsilon),
            ("iterations", iterations),
        ):
            if value <= 0:
                raise ValueError(f"{name} of the prototypes must be positive, got {value}")
        self.prototypes = nn.Parameter(torch.empty(count, width).normal_())
        self.temperature, self.epsilon, self.iterations = temperature, epsilon, iterations

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        check_pair(a, b)
        return _swapped(a, b, self.prototypes, self.temperature, self.epsilon, self.iterations)


@full_precision
def _swapped(
    a: Tensor, b: Tensor, prototypes: Tensor, temperature: float, epsilon: float, iterations: int
) -> Tensor:
    directions = F.normalize(prototypes, dim=1).T
    of_a, of_b = (F.normalize(x, dim=1) @ directions for x in (a, b))
    losses = [
        F.cross_entropy(predicting / temperature, balanced(predicted.detach(), epsilon, iterations))
        for predicting, predicted in ((of_a, of_b), (of_b, of_a))
    ]
    return (losses[0] + losses[1]) / 2


@full_precision
def balanced(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Assignments [N, K] of N clips to K prototypes from scores [N, K], by Sinkhorn-Knopp: each row sums to 1, and each
    column nears N / K the more `iterations` there are. A smaller `epsilon` makes them harder.

    In logarithms, which do not overflow for any epsilon.
    """
    logs = scores / epsilon
    for _ in range(iterations):
        logs = logs - logs.logsumexp(0, keepdim=True)
        logs = logs - logs.logsumexp(1, keepdim=True)
    return logs.exp()
