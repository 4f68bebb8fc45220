"""Attention with learned queries: several vectors of a clip to a few."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class QueryAttention(nn.Module):
    """Each of Q learned queries takes a weighted mean of the tokens, which one linear layer turns into its result.

    The weights are softmax(query . token / sqrt(D)) over the tokens. A learned query makes a key projection redundant:
    it would only be multiplied into the query. The queries begin near zero, so all begin near the plain mean.
    """

    def __init__(self, width: int, queries: int):
        super().__init__()
        self.queries = nn.Parameter(torch.empty(queries, width).normal_(std=0.02))
        self.value = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [..., L, D] to one vector a query, [..., Q, D]."""
        scores = x @ self.queries.T / x.shape[-1] ** 0.5
        return self.value(scores.softmax(-2).transpose(-1, -2) @ x)
