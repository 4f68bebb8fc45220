"""Decomposition: what the fused feature holds of each modality, beside what that modality's own feature says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from models.modalities import MODALITIES
from models.projector import projector

PARTS = ("temporal", "spatial", "whole")


class Decomposition(nn.Module):
    """Takes the fused feature y apart, D_m(y), and projects it and the unimodal feature u_m by the same h_m.

    width: D of the backbone; features are [temporal; spatial], 2*D wide.
    module: D_m is "identity" (the projector h_m alone takes y apart, as UmURL does), "linear", or "mlp" (two layers,
    ReLU between).
    parts: any of "temporal", "spatial", "whole"; each part of the feature has its own D_m and h_m.
    hidden, output, layers: of the projectors.

    Raises ValueError for an unknown module or part, and for no part at all.
    """

    def __init__(self, width: int, module: str, parts: Sequence[str], hidden: int, output: int, layers: int):
        super().__init__()
        if not parts or len(set(parts)) != len(parts) or not set(parts) <= set(PARTS):
            raise ValueError(f"parts must be different ones of {', '.join(PARTS)}, got {list(parts)}")
        self.width, self.parts = width, tuple(parts)
        sizes = {part: 2 * width if part == "whole" else width for part in self.parts}
        self.apart = nn.ModuleDict(
            {part: nn.ModuleDict({m: _module(module, size) for m in MODALITIES}) for part, size in sizes.items()}
        )
        self.projectors = nn.ModuleDict(
            {
                part: nn.ModuleDict({m: projector(size, hidden, output, layers) for m in MODALITIES})
                for part, size in sizes.items()
            }
        )

    def forward(self, unimodal: Mapping[str, Tensor], fused: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """h_m(u_m) and h_m(D_m(y)), each a list of [n, output]: parts in their order, in each part the modalities in
        theirs.

        unimodal: modality -> u_m [n, 2*D]; fused: y [n, 2*D].
        """
        targets, predictions = [], []
        for part in self.parts:
            for m in MODALITIES:
                taken = self.apart[part][m](self._part(part, fused))
                both = self.projectors[part][m](torch.stack([self._part(part, unimodal[m]), taken]))
                targets.append(both[0])
                predictions.append(both[1])
        return targets, predictions

    def _part(self, part: str, feature: Tensor) -> Tensor:
        if part == "whole":
            return feature
        return feature[:, : self.width] if part == "temporal" else feature[:, self.width :]


def _module(kind: str, size: int) -> nn.Module:
    if kind == "identity":
        return nn.Identity()
    if kind == "linear":
        return nn.Linear(size, size)
    if kind == "mlp":
        return nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, size))
    raise ValueError(f"decomposition module must be one of identity, linear, mlp, got {kind}")
