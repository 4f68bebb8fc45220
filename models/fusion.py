"""Early fusion: the embeddings of the modalities, token by token, into one input for the transformer.

All take a list of embeddings [N, tokens, D] and return [N, tokens, D].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.attention import QueryAttention


class Mean(nn.Linear):
    """UmURL's: a linear layer without bias on the mean."""

    def __init__(self, modalities: int, width: int):
        super().__init__(width, width, bias=False)

    def forward(self, embedded: Sequence[Tensor]) -> Tensor:
        return super().forward(torch.stack(embedded).mean(0))


class Concatenation(nn.Linear):
    """A linear layer without bias on the embeddings side by side."""

    def __init__(self, modalities: int, width: int):
        super().__init__(modalities * width, width, bias=False)

    def forward(self, embedded: Sequence[Tensor]) -> Tensor:
        return super().forward(torch.cat(embedded, dim=-1))


class Attention(QueryAttention):
    """A learned query over each token's embeddings: every token has its own weights of the modalities."""

    def __init__(self, modalities: int, width: int):
        super().__init__(width, queries=1)

    def forward(self, embedded: Sequence[Tensor]) -> Tensor:
        return super().forward(torch.stack(embedded, dim=-2)).squeeze(-2)


class Single(nn.Module):
    """One modality: nothing to fuse."""

    def forward(self, embedded: Sequence[Tensor]) -> Tensor:
        return embedded[0]


FUSIONS = {"mean": Mean, "concatenation": Concatenation, "attention": Attention}


def fusion_of(kind: str, modalities: int, width: int) -> nn.Module:
    return FUSIONS[kind](modalities, width) if modalities > 1 else Single()
