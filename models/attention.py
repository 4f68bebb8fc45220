"""Attention with learned queries: it takes several vectors of a clip to a few.

Shapes: L tokens, Q queries, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LearnedQueries(nn.Module):
    """Each of Q learned queries takes a weighted mean of the tokens, then a linear layer follows.

    The weights are softmax(query . token / sqrt(D)) over the tokens. A key projection would be
    redundant, because it would only multiply the query, which is learned anyway. The queries start
    near zero, so that all of them start near the plain mean.

    Args:
        width: D.
        queries: Q.
    """

    def __init__(self, width: int, queries: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.empty(queries, width).normal_(std=0.02))
        self.value = nn.Linear(width, width)

    def attend(self, x_LD: Tensor) -> Tensor:
        """Take tokens [..., L, D] to one vector for each query, [..., Q, D]."""
        scores_LQ = x_LD @ self.queries.T / x_LD.shape[-1] ** 0.5
        return self.value(scores_LQ.softmax(-2).transpose(-1, -2) @ x_LD)


class QueryAttention(LearnedQueries):
    """Learned queries over the tokens of one tensor."""

    def forward(self, x_LD: Tensor) -> Tensor:
        """Take tokens [..., L, D] to one vector for each query, [..., Q, D]."""
        return self.attend(x_LD)
