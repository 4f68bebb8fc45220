"""Batches that are spread over workers: collective operations that gradients flow through.

All operations follow one convention. Every worker computes the same loss of the whole global batch,
and `DistributedDataParallel` averages the workers' gradients. The backward of an operation here is
its exact adjoint, that is, the derivative of the *sum* of the workers' losses. The average of those
gradients is then the gradient that one worker with the whole batch would compute. Without an
initialised process group all operations are the identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Return the number of workers; 1 without a process group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_world_size()
    return 1


def shares(rows: int, device: torch.device) -> list[int]:
    """Return how many rows of the global batch each worker holds, in rank order.

    Args:
        rows: how many this worker holds.
        device: where the workers exchange their numbers.
    """
    if world_size() == 1:
        return [rows]
    counts = torch.empty(world_size(), dtype=torch.int64, device=device)
    own = torch.tensor([rows], dtype=torch.int64, device=device)
    dist.all_gather(list(counts.split(1)), own)
    return counts.tolist()


class _Gather(torch.autograd.Function):
    """Rows of all workers in rank order.

    Workers with fewer rows pad theirs, because `all_gather` wants equal shapes. Two workers with
    3 and 2 rows:

        worker 0 sends  a0 a1 a2
        worker 1 sends  b0 b1 --
        both return     a0 a1 a2 b0 b1
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, counts: tuple[int, ...]) -> Tensor:
        ctx.counts = counts
        padded = x.new_zeros(max(counts), *x.shape[1:])
        padded[: len(x)] = x
        received = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(received, padded)
        # Cut the padding off again.
        rows = []
        for part, count in zip(received, counts, strict=True):
            rows.append(part[:count])
        return torch.cat(rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        # All workers compute the same loss of the gathered rows, so that the sum of their gradients
        # is a multiple of any one of them.
        rank = dist.get_rank()
        own = gradient.narrow(0, sum(ctx.counts[:rank]), ctx.counts[rank])
        return own * len(ctx.counts), None


def gather(x: Tensor, counts: Sequence[int] | None = None) -> Tensor:
    """Collect the rows of all workers in rank order.

    Every worker must use the result in the same way, because the backward relies on equal gradients
    on all workers.

    Args:
        x: this worker's rows, [n, ...].
        counts: the result of `shares`, if the caller has it already; this saves an exchange.

    Returns:
        [n_0 + n_1 + ..., ...].
    """
    if world_size() == 1:
        return x
    if counts is None:
        counts = shares(len(x), x.device)
    return _Gather.apply(x, tuple(counts))


def gather_all(tensors: Sequence[Tensor], counts: Sequence[int]) -> list[Tensor]:
    """Gather several tensors in one exchange.

    Args:
        tensors: each [n, d]; every tensor may have another width d.
        counts: the result of `shares`.

    Returns:
        For each tensor the rows of all workers, see `gather`.
    """
    if len(counts) == 1:
        return list(tensors)
    widths = [x.shape[1] for x in tensors]
    side_by_side = torch.cat(list(tensors), dim=1)
    return list(gather(side_by_side, counts).split(widths, dim=1))


class _GlobalSum(torch.autograd.Function):
    """The sum over all workers. It is its own adjoint."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


def global_sum(x: Tensor) -> Tensor:
    """Sum a tensor over all workers, element by element.

    Each worker may use the result in another way, because the backward sums over the workers, too.
    """
    if world_size() == 1:
        return x
    return _GlobalSum.apply(x)
