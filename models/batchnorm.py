"""Batch normalisation over the global batch, on every backend (torch's SyncBatchNorm refuses the CPU)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.distributed import global_sum, world_size
from models.precision import widen


class GlobalBatchNorm1d(nn.BatchNorm1d):
    """`nn.BatchNorm1d` whose statistics are those of the rows of all workers; the same parameters, buffers and results.

    Takes [n, C], or groups of rows [G, n, C] that are each normalised by their own statistics, as G calls one after the
    other would do. Workers may hold different n. Statistics are float32 under autocast; the mean comes first and the
    squared deviations from it second, because a sum of squares loses the variance of features with a large mean.

    Raises ValueError for a single row in training mode (with several workers the caller has to see to it, as the number
    of all rows stays on the device), and for another number of features.
    """

    def __init__(
        self, features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True
    ):
        super().__init__(features, eps, momentum, affine)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim not in (2, 3) or x.shape[-1] != self.num_features:
            raise ValueError(
                f"expected [n, {self.num_features}] or [G, n, {self.num_features}], got {list(x.shape)}"
            )
        if self.training:
            if world_size() == 1 and x.shape[-2] < 2:
                raise ValueError("batch statistics need at least two clips in a batch")
            mean, variance, count = _statistics(x)
            self._track(mean.detach(), variance.detach(), count)
        else:
            mean, variance = self.running_mean, self.running_var
        scale = (variance + self.eps).rsqrt()
        if not self.affine:
            return ((widen(x) - mean) * scale).to(x.dtype)
        return ((widen(x) - mean) * (scale * self.weight) + self.bias).to(x.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        unbiased = variance * (count / (count - 1))
        for group_mean, group_variance in zip(
            mean.flatten(0, -2), unbiased.flatten(0, -2), strict=True
        ):
            self.running_mean.lerp_(group_mean.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_(group_variance.to(self.running_var.dtype), self.momentum)
            self.num_batches_tracked += 1


def _statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance [.., 1, C] over the rows of all workers, and how many these are [.., 1, 1]."""
    x = widen(x)
    rows = x.new_full((*x.shape[:-2], 1, 1), x.shape[-2])
    total = global_sum(torch.cat([x.sum(-2, keepdim=True), rows], dim=-1))
    count = total[..., -1:].detach()
    mean = total[..., :-1] / count
    variance = global_sum((x - mean).square().sum(-2, keepdim=True)) / count
    return mean, variance, count
