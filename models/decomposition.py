"""Decomposition: take a feature for each modality out of the fused one, and project both sides.

The Decomposition and Composition paper (arXiv 2512.21064) names the step; UmURL (ACM MM 2023) is
the case of the "identity" module. Shapes: n clips, T and M*V tokens of the two streams, D the width
of the backbone, S streams (1 or 2) that a part of the feature comes from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from models.attention import LearnedQueries
from models.choices import (
    DECOMPOSITION_MODULES,
    FEATURE_PARTS,
    PROJECTORS,
    require_choice,
    require_different,
)
from models.parts import STREAMS, part_of
from models.projector import ProjectorSizes, build_projector

# The modules that look at the fused tokens, not at the pooled feature.
OF_TOKENS = ("convolution", "attention")
# The name of the only projector where all tensors share one.
_ALL = "all"


class Decomposition(nn.Module):
    """Takes the fused feature y apart, D_m(y), and projects it and the unimodal features u_m.

    Args:
        width: D; features are [temporal; spatial], 2*D wide.
        modalities: names of the modalities, in their order.
        module: D_m is one of
            - "identity": the projector alone takes y apart, as in UmURL;
            - "linear", or "mlp" (two layers, ReLU between them), of the pooled feature;
            - "convolution" over the fused tokens, see `Convolution`;
            - "attention": one query for each modality over the fused tokens; the whole has two, one
              for each half of the feature, over the tokens of both streams.
        parts: any of "temporal", "spatial", "whole"; each part of the feature has its own D_m and
            projectors.
        projectors: one for each "modality", the same for u_m and D_m(y) (UmURL's h_m); one "shared"
            by all; or "separate" ones for u_m and D_m(y) of each modality.
        sizes: of the projectors.

    Raises:
        ValueError: A module, a part or a kind of projectors is unknown, or there is no part.
    """

    def __init__(
        self,
        *,
        width: int,
        modalities: Sequence[str],
        module: str,
        parts: Sequence[str],
        projectors: str,
        sizes: ProjectorSizes,
    ) -> None:
        super().__init__()
        require_different("parts", parts, FEATURE_PARTS)
        require_choice("decomposition module", module, DECOMPOSITION_MODULES)
        require_choice("decomposition projectors", projectors, PROJECTORS)
        self.width = width
        self.modalities = tuple(modalities)
        self.parts = tuple(parts)
        self.of_tokens = module in OF_TOKENS
        self.kind = projectors
        # The order of creation decides on the random draws: first all modules that take the
        # feature apart, then all projectors of the u_m, then those of the D_m(y) alone.
        self.apart = nn.ModuleDict()
        for part in self.parts:
            self.apart[part] = _build_apart(module, width, len(STREAMS[part]), self.modalities)
        names = (_ALL,) if projectors == "shared" else self.modalities
        self.projectors = self._build_projectors(names, sizes)
        if projectors == "separate":
            self.fused_projectors = self._build_projectors(self.modalities, sizes)

    def _build_projectors(self, names: Sequence[str], sizes: ProjectorSizes) -> nn.ModuleDict:
        """Build for each part a projector of each name."""
        of_parts = nn.ModuleDict()
        for part in self.parts:
            inputs = len(STREAMS[part]) * self.width
            projectors = nn.ModuleDict()
            for name in names:
                projectors[name] = build_projector(inputs, sizes)
            of_parts[part] = projectors
        return of_parts

    def forward(
        self,
        unimodal: Mapping[str, Tensor],
        fused: Tensor,
        tokens: Sequence[Tensor] | None = None,
    ) -> tuple[dict[str, list[Tensor]], dict[str, list[Tensor]]]:
        """Project the unimodal features and what was taken out of the fused one.

        Args:
            unimodal: modality -> u_m, [n, 2*D].
            fused: y, [n, 2*D].
            tokens: those of y, [n, T, D] and [n, M*V, D]; only "convolution" and "attention" look
                at them.

        Returns:
            The targets, which are projections of u_m, and the predictions, which are projections of
            D_m(y). Each is part -> a list of [n, output], the modalities in their order.
        """
        targets = {}
        predictions = {}
        for part in self.parts:
            true = []
            for name in self.modalities:
                true.append(part_of(unimodal[name], part))
            taken = self.apart[part](self._source(part, fused, tokens))
            targets[part], predictions[part] = self._project(part, true, taken)
        return targets, predictions

    def _source(
        self, part: str, fused: Tensor, tokens: Sequence[Tensor] | None
    ) -> Tensor | list[Tensor]:
        """What D_m looks at: a part of the fused feature, or the tokens of that part's streams."""
        if not self.of_tokens:
            return part_of(fused, part)
        if tokens is None:
            raise ValueError("this decomposition looks at the tokens of the fused feature")
        return [tokens[stream] for stream in STREAMS[part]]

    def _project(
        self, part: str, true: list[Tensor], taken: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Project both sides, each tensor by batch statistics of its own."""
        projectors = cast(nn.ModuleDict, self.projectors[part])
        if self.kind == "shared":
            # One pass for all: a projector takes groups [G, n, ...] and keeps them apart.
            projected = list(projectors[_ALL](torch.stack([*true, *taken])))
            return projected[: len(true)], projected[len(true) :]
        if self.kind == "separate":
            fused_projectors = cast(nn.ModuleDict, self.fused_projectors[part])
            targets = self._each(projectors, true)
            predictions = self._each(fused_projectors, taken)
            return targets, predictions
        # One pass for both sides of a modality, as groups [2, n, ...].
        pairs = []
        for u_m, y_m in zip(true, taken, strict=True):
            pairs.append(torch.stack([u_m, y_m]))
        targets = []
        predictions = []
        for pair in self._each(projectors, pairs):
            targets.append(pair[0])
            predictions.append(pair[1])
        return targets, predictions

    def _each(self, projectors: nn.ModuleDict, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Project the tensor of each modality by that modality's projector."""
        of_modalities = zip(self.modalities, tensors, strict=True)
        return [projectors[name](tensor) for name, tensor in of_modalities]


def _build_apart(kind: str, width: int, streams: int, modalities: Sequence[str]) -> nn.Module:
    """Build what takes one part of the fused feature apart.

    Returns:
        A module from the part [n, S*D], or the tokens of its streams, to one tensor [n, S*D] for
        each modality.
    """
    if kind == "attention":
        return Attention(width, streams, len(modalities))
    each = Each()
    for name in modalities:
        each[name] = _build_one(kind, width, streams)
    return each


def _build_one(kind: str, width: int, streams: int) -> nn.Module:
    """Build D_m of one modality."""
    size = streams * width
    if kind == "linear":
        return nn.Linear(size, size)
    if kind == "mlp":
        return nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, size))
    if kind == "convolution":
        return Convolution(width, streams)
    return nn.Identity()


class Each(nn.ModuleDict):
    """A module of its own for each modality."""

    def forward(self, source: Tensor | Sequence[Tensor]) -> list[Tensor]:
        """Return one tensor for each modality, all from the same source."""
        return [module(source) for module in self.values()]


class Convolution(nn.Module):
    """A convolution over three neighbouring tokens, for each stream, and a linear layer.

    ReLU and the maximum over the tokens follow the convolution; the linear layer takes the streams'
    results side by side. Tokens are neighbours in time, or by the numbers of their joints.

    Args:
        width: D.
        streams: S.
    """

    def __init__(self, width: int, streams: int) -> None:
        super().__init__()
        self.streams = nn.ModuleList()
        for _ in range(streams):
            self.streams.append(nn.Conv1d(width, width, 3, padding=1))
        self.out = nn.Linear(streams * width, streams * width)

    def forward(self, tokens: Sequence[Tensor]) -> Tensor:
        """Take the tokens of S streams, each [n, L, D], to [n, S*D]."""
        pooled = []
        for convolution, x_nLD in zip(self.streams, tokens, strict=True):
            x_nDL = convolution(x_nLD.transpose(1, 2))
            pooled.append(x_nDL.relu().amax(2))
        return self.out(torch.cat(pooled, dim=1))


class Attention(LearnedQueries):
    """Queries of all modalities over the tokens of all streams, S queries for each modality.

    Args:
        width: D.
        streams: S.
        modalities: their number.
    """

    def __init__(self, width: int, streams: int, modalities: int) -> None:
        super().__init__(width, streams * modalities)
        self.modalities = modalities

    def forward(self, tokens: Sequence[Tensor]) -> list[Tensor]:
        """Take the tokens of S streams, each [n, L, D], to [n, S*D] for each modality."""
        answers_nQD = self.attend(torch.cat(list(tokens), dim=1))
        of_modalities = answers_nQD.unflatten(1, (self.modalities, -1)).flatten(2)
        return list(of_modalities.unbind(1))
