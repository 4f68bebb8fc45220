"""One stream of the backbone: tokens of all modalities in, encoded tokens out.

Shapes: N rows (views of clips), L tokens, D width, K modalities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.fusion import build_fusion
from models.transformer import Layer, PositionTable


@dataclass(frozen=True)
class StreamSettings:
    """What a stream is built from; `models.backbone.BackboneSettings` explains the values.

    Args:
        tokens: L.
        inputs: number of values in a token, before its embedding.
        width: D.
        layers: number of transformer layers.
        heads: of each layer.
        feedforward: width of the hidden layer in each transformer layer.
        dropout: probability that a value is dropped in training.
        norm: "post" or "pre".
        positions: "none", "sinusoidal" or "learned".
    """

    tokens: int
    inputs: int
    width: int
    layers: int
    heads: int
    feedforward: int
    dropout: float
    norm: str
    positions: str


class Stream(nn.Module):
    """One of the two streams: embeddings of the modalities, fusion, positions, transformer.

    Args:
        settings: what all of that is built from.
        modalities: names of the K modalities, in their order.
        fusion: how their embeddings become one input, see `models.fusion`.
    """

    def __init__(self, settings: StreamSettings, modalities: Sequence[str], fusion: str) -> None:
        super().__init__()
        width = settings.width
        self.embedding = nn.ModuleDict()
        for name in modalities:
            self.embedding[name] = nn.Sequential(
                nn.Linear(settings.inputs, width),
                nn.LayerNorm(width),
                nn.ReLU(),
                nn.Linear(width, width),
            )
        self.fusion = build_fusion(fusion, len(modalities), width)
        self.positions = PositionTable(settings.positions, settings.tokens, width)
        self.dropout = nn.Dropout(settings.dropout)
        self.layers = nn.Sequential()
        for _ in range(settings.layers):
            layer = Layer(
                width=width,
                heads=settings.heads,
                feedforward=settings.feedforward,
                dropout=settings.dropout,
                norm=settings.norm,
            )
            self.layers.append(layer)
        # Layers that normalise their inputs leave the last sum without a norm.
        self.norm = nn.LayerNorm(width) if settings.norm == "pre" else nn.Identity()

    def forward(self, inputs: Mapping[str, Tensor], fused: int) -> Tensor:
        """Encode the rows of all inputs in one pass.

        The rows of each modality that are encoded alone come first, and the `fused` rows come last;
        `models.backbone.Backbone.encode_tokens` shows an example.

        Args:
            inputs: modality -> tokens [own + fused, L, values].
            fused: how many of the rows, the last ones, the modalities enter together.

        Returns:
            Encoded tokens [N, L, D]: the own rows of each modality in their order, then the fused
            rows.
        """
        alone = []
        together = []
        for name, x in inputs.items():
            own = len(x) - fused
            own_NLD, shared_NLD = self.embedding[name](x).split([own, fused])
            alone.append(own_NLD)
            together.append(shared_NLD)
        if fused:
            alone.append(self.fusion(together))
        return self.transform(torch.cat(alone))

    def transform(self, x_NLD: Tensor) -> Tensor:
        """Take embedded tokens [N, L, D] to encoded tokens of the same shape."""
        return self.norm(self.layers(self.dropout(self.positions(x_NLD))))


class LateStream(nn.ModuleDict):
    """A stream of its own for each modality: no modality sees another.

    Args:
        settings: of each of the streams.
        modalities: names of the K modalities, in their order.
    """

    def __init__(self, settings: StreamSettings, modalities: Sequence[str]) -> None:
        super().__init__()
        for name in modalities:
            self[name] = Stream(settings, modalities=[name], fusion="mean")

    def forward(self, inputs: Mapping[str, Tensor], fused: int) -> Tensor:
        """Encode as `Stream.forward` does; the results stand side by side, [N, L, K*D]."""
        encoded = []
        for name, stream in self.items():
            encoded.append(stream({name: inputs[name]}, fused))
        return torch.cat(encoded, dim=-1)
