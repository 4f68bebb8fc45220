"""Composition: the unimodal features put together, as guidance for the fused one."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from models.modalities import MODALITIES


class Composition(nn.Module):
    """c = sum_m w_m u_m: w_m = 1/3 (module "mean"), or the softmax of learned numbers that begin there (module
    "weights").

    Raises ValueError for an unknown module.
    """

    def __init__(self, module: str):
        super().__init__()
        if module not in ("mean", "weights"):
            raise ValueError(f"composition module must be one of mean, weights, got {module}")
        self.logits = nn.Parameter(torch.zeros(len(MODALITIES))) if module == "weights" else None

    def forward(self, unimodal: Mapping[str, Tensor]) -> Tensor:
        """unimodal: modality -> [n, D]. Returns [n, D]."""
        features = torch.stack([unimodal[m] for m in MODALITIES])
        if self.logits is None:
            return features.mean(0)
        return (self.logits.softmax(0)[:, None, None] * features).sum(0)
