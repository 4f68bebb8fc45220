"""Batch normalisation over the global batch, on every backend (torch's SyncBatchNorm needs a GPU).

Shapes: G groups of rows, n rows of this worker, C features.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from models.distributed import global_sum, world_size
from models.precision import widen


class GlobalBatchNorm1d(nn.BatchNorm1d):
    """`nn.BatchNorm1d` with the statistics of the rows of all workers.

    It has the same parameters, buffers and results. It takes [n, C], or groups of rows [G, n, C]:
    each group is normalised by its own statistics, as G calls one after the other would do. Workers
    may hold different n. The statistics are float32 under autocast. The mean is computed first and
    the squared deviations from it second, because a sum of squares loses the variance of features
    with a large mean.

    Args:
        features: C.
        eps: added to the variance.
        momentum: the share of the newest statistics in the running ones.
        affine: whether each feature has a learned scale and shift.

    Raises:
        ValueError: The input has another number of features, or one worker trains on a single row.
            With several workers the caller has to prevent this, because the number of all rows
            stays on the device.
    """

    # Never None here: the statistics are always kept, see `without_traces`.
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def __init__(
        self, features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True
    ) -> None:
        super().__init__(features, eps, momentum, affine)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [n, C] or [G, n, C]."""
        self._check(x)
        if self.training:
            mean, variance, count = _statistics(x)
            if self.track_running_stats:
                self._track(mean.detach(), variance.detach(), count)
        else:
            mean = self.running_mean
            variance = self.running_var
        scale = (variance + self.eps).rsqrt()
        centred = widen(x) - mean
        if self.affine:
            result = centred * (scale * self.weight) + self.bias
        else:
            result = centred * scale
        return result.to(x.dtype)

    def _check(self, x: Tensor) -> None:
        features = self.num_features
        if x.ndim not in (2, 3) or x.shape[-1] != features:
            raise ValueError(f"expected [n, {features}] or [G, n, {features}], got {list(x.shape)}")
        if self.training and world_size() == 1 and x.shape[-2] < 2:
            raise ValueError("batch statistics need at least two clips in a batch")

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Move the running statistics towards those of each group, one group after the other."""
        unbiased = variance * (count / (count - 1))
        groups = zip(mean.flatten(0, -2), unbiased.flatten(0, -2), strict=True)
        for mean_C, variance_C in groups:
            self.running_mean.lerp_(mean_C.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_(variance_C.to(self.running_var.dtype), self.momentum)
            self.num_batches_tracked += 1


@contextmanager
def without_traces(module: nn.Module) -> Iterator[None]:
    """Inside the context, calls of a module leave nothing behind.

    Norms in training go on to use batch statistics, but their running ones stay as they are. All
    other modules are in evaluation, so that no random number is drawn for dropout.
    """
    modes = []
    for part in module.modules():
        modes.append((part, part.training))
        if isinstance(part, GlobalBatchNorm1d):
            part.track_running_stats = False
        else:
            part.training = False
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
            if isinstance(part, GlobalBatchNorm1d):
                part.track_running_stats = True


def _statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute batch statistics over the rows of all workers.

    Returns:
        The mean [..., 1, C], the biased variance [..., 1, C] and the number of rows [..., 1, 1].
    """
    x = widen(x)
    rows = x.new_full((*x.shape[:-2], 1, 1), x.shape[-2])
    # The number of rows travels beside the sums, so that one exchange is enough.
    total = global_sum(torch.cat([x.sum(-2, keepdim=True), rows], dim=-1))
    count = total[..., -1:].detach()
    mean = total[..., :-1] / count
    variance = global_sum((x - mean).square().sum(-2, keepdim=True)) / count
    return mean, variance, count
