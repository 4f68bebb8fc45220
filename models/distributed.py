"""Batches that are spread over workers: collective operations that gradients flow through.

The convention of all of them: every worker computes the same loss of the whole global batch, and
`DistributedDataParallel` averages the workers' gradients. The backward of an operation here is its exact adjoint, that
is, the derivative of the *sum* of the workers' losses; the average of those gradients is then the gradient that one
worker with the whole batch would compute. Without an initialised process group all operations are the identity.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def shares(rows: int, device: torch.device) -> list[int]:
    """How many rows of the global batch each worker holds, in rank order."""
    if world_size() == 1:
        return [rows]
    counts = torch.empty(world_size(), dtype=torch.int64, device=device)
    dist.all_gather(list(counts.split(1)), torch.tensor([rows], dtype=torch.int64, device=device))
    return counts.tolist()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, counts: tuple[int, ...]) -> Tensor:
        ctx.counts = counts
        padded = x.new_zeros(max(counts), *x.shape[1:])
        padded[: len(x)] = x
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        # All workers compute the same loss of the gathered rows: the sum of their gradients is a multiple of any.
        rank = dist.get_rank()
        own = gradient.narrow(0, sum(ctx.counts[:rank]), ctx.counts[rank])
        return own * len(ctx.counts), None


def gather(x: Tensor, counts: Sequence[int] | None = None) -> Tensor:
    """The rows of all workers [n_0 + n_1 + ..., ...] in rank order, from this worker's [n, ...].

    counts: what `shares` says, where the caller knows already; it saves the exchange.
    For values that every worker uses in the same way: the backward relies on equal gradients on all workers.
    """
    if world_size() == 1:
        return x
    return _Gather.apply(x, tuple(counts if counts is not None else shares(len(x), x.device)))


def gather_all(tensors: Sequence[Tensor], counts: Sequence[int]) -> list[Tensor]:
    """`gather` of several tensors [n, d], with widths d of their own, in one exchange."""
    if len(counts) == 1:
        return list(tensors)
    return list(
        gather(torch.cat(list(tensors), dim=1), counts).split([x.shape[1] for x in tensors], dim=1)
    )


class _GlobalSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


def global_sum(x: Tensor) -> Tensor:
    """The element-wise sum over all workers, which each may use in its own way: the backward sums over workers too."""
    return x if world_size() == 1 else _GlobalSum.apply(x)
