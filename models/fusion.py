"""Early fusion: the embeddings of the modalities become one input of the transformer.

Shapes: N rows (views of clips), L tokens, D width, K modalities. Every fusion takes a list of K
embeddings [N, L, D] and returns [N, L, D]; it works token by token.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.attention import LearnedQueries


class _Projection(nn.Module):
    """A linear layer without bias. Its weight is called `weight` in checkpoints."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Linear(inputs, outputs, bias=False).weight

    def project(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight)


class Mean(_Projection):
    """UmURL's fusion: a linear layer without bias on the mean of the embeddings."""

    def __init__(self, modalities: int, width: int) -> None:
        super().__init__(width, width)

    def forward(self, embedded: Sequence[Tensor]) -> Tensor:
        """Fuse K embeddings [N, L, D] to [N, L, D]."""
        return self.project(torch.stack(list(embedded)).mean(0))


class Concatenation(_Projection):
    """A linear layer without bias on the embeddings side by side."""

    def __init__(self, modalities: int, width: int) -> None:
        super().__init__(modalities * width, width)

    def forward(self, embedded: Sequence[Tensor]) -> Tensor:
        """Fuse K embeddings [N, L, D] to [N, L, D]."""
        return self.project(torch.cat(list(embedded), dim=-1))


class Attention(LearnedQueries):
    """A learned query over each token's embeddings, so that every token weighs the modalities."""

    def __init__(self, modalities: int, width: int) -> None:
        super().__init__(width, queries=1)

    def forward(self, embedded: Sequence[Tensor]) -> Tensor:
        """Fuse K embeddings [N, L, D] to [N, L, D]."""
        x_NLKD = torch.stack(list(embedded), dim=-2)
        return self.attend(x_NLKD).squeeze(-2)


class Single(nn.Module):
    """One modality, which leaves nothing to fuse."""

    def forward(self, embedded: Sequence[Tensor]) -> Tensor:
        """Return the only embedding."""
        return embedded[0]


EARLY_FUSIONS = {"mean": Mean, "concatenation": Concatenation, "attention": Attention}


def build_fusion(kind: str, modalities: int, width: int) -> nn.Module:
    """Build the early fusion of a number of modalities.

    Args:
        kind: "mean", "concatenation" or "attention"; of no effect on one modality alone.
        modalities: K.
        width: D.
    """
    if modalities == 1:
        return Single()
    return EARLY_FUSIONS[kind](modalities, width)
