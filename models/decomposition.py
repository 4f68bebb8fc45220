"""Decomposition: what the fused feature holds of each modality, beside what that modality's own feature says.

Shapes: n clips, T and M*V tokens of the two streams, D the backbone's width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from models.attention import QueryAttention
from models.projector import projector

# A part of the feature -> the streams that it comes from, by number.
PARTS = {"temporal": (0,), "spatial": (1,), "whole": (0, 1)}
MODULES = ("identity", "linear", "mlp", "convolution", "attention")
OF_TOKENS = ("convolution", "attention")
PROJECTORS = ("modality", "shared", "separate")


class Decomposition(nn.Module):
    """Takes the fused feature y apart, D_m(y), and projects it and the unimodal features u_m.

    width: D; features are [temporal; spatial], 2*D wide.
    module: D_m is
        - "identity": the projector alone takes y apart, as in UmURL;
        - "linear", or "mlp" (two layers, ReLU between), of the pooled feature;
        - "convolution" over the fused tokens, see `Convolution`;
        - "attention": one query a modality over the fused tokens; for the whole two, one for each half of the feature,
          over the tokens of both streams.
    parts: any of "temporal", "spatial", "whole"; each part of the feature has its own D_m and projectors.
    projectors: one for each "modality", the same for u_m and D_m(y) (UmURL's h_m); one "shared" by all; or "separate"
        ones for u_m and D_m(y) of each modality.
    hidden, output, layers: of the projectors.

    Raises ValueError for an unknown module, part or kind of projectors, and for no part at all.
    """

    def __init__(
        self,
        width: int,
        modalities: Sequence[str],
        module: str,
        parts: Sequence[str],
        projectors: str,
        hidden: int,
        output: int,
        layers: int,
    ):
        super().__init__()
        if not parts or len(set(parts)) != len(parts) or not set(parts) <= set(PARTS):
            raise ValueError(
                f"parts must be different ones of {', '.join(PARTS)}, got {list(parts)}"
            )
        for name, value, allowed in (
            ("module", module, MODULES),
            ("projectors", projectors, PROJECTORS),
        ):
            if value not in allowed:
                raise ValueError(
                    f"decomposition {name} must be one of {', '.join(allowed)}, got {value}"
                )
        self.width, self.modalities, self.parts = width, tuple(modalities), tuple(parts)
        self.of_tokens, self.kind = module in OF_TOKENS, projectors
        streams = {part: len(PARTS[part]) for part in self.parts}
        self.apart = nn.ModuleDict(
            {part: _apart(module, width, streams[part], self.modalities) for part in self.parts}
        )

        def heads(names: Sequence[str]) -> nn.ModuleDict:
            return nn.ModuleDict(
                {
                    part: nn.ModuleDict(
                        {m: projector(streams[part] * width, hidden, output, layers) for m in names}
                    )
                    for part in self.parts
                }
            )

        self.projectors = heads(["all"] if projectors == "shared" else self.modalities)
        if projectors == "separate":
            self.fused_projectors = heads(self.modalities)

    def forward(
        self, unimodal: Mapping[str, Tensor], fused: Tensor, tokens: Sequence[Tensor] | None = None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Projections of u_m and of D_m(y), each a list of [n, output]: parts in their order, in each part the
        modalities in theirs.

        unimodal: modality -> u_m [n, 2*D]; fused: y [n, 2*D]; tokens: those of y, [n, T, D] and [n, M*V, D], which only
        "convolution" and "attention" look at.
        """
        targets, predictions = [], []
        for part in self.parts:
            true = [self._part(part, unimodal[m]) for m in self.modalities]
            source = [tokens[s] for s in PARTS[part]] if self.of_tokens else self._part(part, fused)
            z, found = self._project(part, true, self.apart[part](source))
            targets.extend(z)
            predictions.extend(found)
        return targets, predictions

    def _part(self, part: str, feature: Tensor) -> Tensor:
        if part == "whole":
            return feature
        return feature[:, : self.width] if part == "temporal" else feature[:, self.width :]

    def _project(
        self, part: str, true: list[Tensor], taken: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Both sides projected, each of the tensors normalised by batch statistics of its own."""
        heads = self.projectors[part]
        if self.kind == "shared":
            z = list(heads["all"](torch.stack([*true, *taken])))
            return z[: len(true)], z[len(true) :]
        if self.kind == "separate":
            others = self.fused_projectors[part]
            z = [heads[m](x) for m, x in zip(self.modalities, true, strict=True)]
            return z, [others[m](x) for m, x in zip(self.modalities, taken, strict=True)]
        pairs = zip(self.modalities, true, taken, strict=True)
        both = [heads[m](torch.stack([u, y])) for m, u, y in pairs]
        return [z[0] for z in both], [z[1] for z in both]


def _apart(kind: str, width: int, streams: int, modalities: Sequence[str]) -> nn.Module:
    """From a part of the fused feature [n, streams * D], or its streams' tokens, to one such tensor a modality."""
    size = streams * width
    if kind == "attention":
        return Attention(width, streams, len(modalities))
    build = {
        "identity": nn.Identity,
        "linear": lambda: nn.Linear(size, size),
        "mlp": lambda: nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, size)),
        "convolution": lambda: Convolution(width, streams),
    }
    return Each({m: build[kind]() for m in modalities})


class Each(nn.ModuleDict):
    """A module of its own for each modality."""

    def forward(self, source: Tensor | Sequence[Tensor]) -> list[Tensor]:
        return [module(source) for module in self.values()]


class Convolution(nn.Module):
    """A convolution over three neighbouring tokens of each stream, ReLU, the maximum over tokens, and a linear layer of
    the streams' results side by side.

    Tokens are neighbours in time, or by the numbers of their joints.
    """

    def __init__(self, width: int, streams: int):
        super().__init__()
        self.streams = nn.ModuleList(nn.Conv1d(width, width, 3, padding=1) for _ in range(streams))
        self.out = nn.Linear(streams * width, streams * width)

    def forward(self, tokens: Sequence[Tensor]) -> Tensor:
        pooled = [
            conv(x.transpose(1, 2)).relu().amax(2)
            for conv, x in zip(self.streams, tokens, strict=True)
        ]
        return self.out(torch.cat(pooled, dim=1))


class Attention(QueryAttention):
    """Queries of all modalities over the tokens of all streams, as many queries a modality as streams."""

    def __init__(self, width: int, streams: int, modalities: int):
        super().__init__(width, streams * modalities)
        self.modalities = modalities

    def forward(self, tokens: Sequence[Tensor]) -> list[Tensor]:
        found = super().forward(torch.cat(list(tokens), dim=1))
        return list(found.unflatten(1, (self.modalities, -1)).flatten(2).unbind(1))
