"""Composition: the unimodal features become one feature, as guidance for the fused one.

The Decomposition and Composition paper (arXiv 2512.21064) names the step; its operators are not
public and are a choice here. Shapes: n clips, K modalities, D width of a feature.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from models.attention import QueryAttention
from models.choices import COMPOSITION_MODULES, require_choice


class Composition(nn.Module):
    """c = C(u_1, ..., u_K), where u_m is the feature of modality m.

    Args:
        module: C is one of
            - "mean": the mean of the u_m;
            - "weights": sum_m w_m u_m, where w is the softmax of learned numbers that start equal;
            - "mlp": two layers with ReLU between them, of the u_m side by side;
            - "attention": one learned query over the u_m; a learned vector added to each u_m says
              which modality it is.
        modalities: names of the K modalities, in their order.
        size: D.

    Raises:
        ValueError: The module is unknown.
    """

    def __init__(self, module: str, modalities: Sequence[str], size: int) -> None:
        super().__init__()
        require_choice("composition module", module, COMPOSITION_MODULES)
        self.module = module
        self.modalities = tuple(modalities)
        count = len(self.modalities)
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
        """Compose the features of all modalities.

        Args:
            unimodal: modality -> u_m, [n, D].

        Returns:
            c, [n, D].
        """
        u_KND = torch.stack([unimodal[name] for name in self.modalities])
        if self.module == "weights":
            return (self.logits.softmax(0)[:, None, None] * u_KND).sum(0)
        if self.module == "mlp":
            return self.mlp(torch.cat(u_KND.unbind(), dim=1))
        if self.module == "attention":
            return self.attention(u_KND.transpose(0, 1) + self.table).squeeze(1)
        return u_KND.mean(0)
