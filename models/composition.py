"""Composition: the unimodal features put together, as guidance for the fused one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from models.attention import QueryAttention

MODULES = ("mean", "weights", "mlp", "attention")


class Composition(nn.Module):
    """c = C(u_1, ..., u_K), of K modalities' features, each `size` wide.

    module:
        - "mean": of the u_m;
        - "weights": sum_m w_m u_m, w the softmax of learned numbers that begin at the mean;
        - "mlp": two layers with ReLU between, of the u_m side by side;
        - "attention": one learned query over the u_m, each with a learned vector added that says which it is.

    Raises ValueError for an unknown module.
    """

    def __init__(self, module: str, modalities: Sequence[str], size: int):
        super().__init__()
        if module not in MODULES:
            raise ValueError(
                f"composition module must be one of {', '.join(MODULES)}, got {module}"
            )
        self.module, self.modalities, count = module, tuple(modalities), len(modalities)
        if module == "weights":
            self.logits = nn.Parameter(torch.zeros(count))
        elif module == "mlp":
            self.mlp = nn.Sequential(
                nn.Linear(count * size, size), nn.ReLU(), nn.Linear(size, size)
            )
        elif module == "attention":
            self.table = nn.Parameter(torch.empty(count, size).normal_(std=0.02))
            self.attention = QueryAttention(size, queries=1)

    def forward(self, unimodal: Mapping[str, Tensor]) -> Tensor:
        """unimodal: modality -> [n, size]. Returns [n, size]."""
        features = torch.stack([unimodal[m] for m in self.modalities])
        if self.module == "weights":
            return (self.logits.softmax(0)[:, None, None] * features).sum(0)
        if self.module == "mlp":
            return self.mlp(torch.cat(features.unbind(), dim=1))
        if self.module == "attention":
            return self.attention(features.transpose(0, 1) + self.table).squeeze(1)
        return features.mean(0)
