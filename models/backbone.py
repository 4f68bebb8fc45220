"""The two-stream fused skeleton transformer of UmURL (Sun et al., ACM MM 2023), with its successors' variations.

Shapes: B clips, T frames, M persons, V joints, D width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.batchnorm import GlobalBatchNorm1d
from models.fusion import FUSIONS, fusion_of
from models.modalities import MODALITIES, modality
from models.skeleton import SkeletonLayout

NORMS = ("post", "pre")
POOLINGS = ("max", "mean")
FEATURE_NORMS = ("none", "batch")
Tokens = tuple[
    Tensor, Tensor
]  # of the temporal stream [B, T, D] and of the spatial stream [B, M*V, D]


class Backbone(nn.Module):
    """Clips to features: modality embeddings, their fusion, and one transformer a stream that all inputs share.

    The temporal stream sees T tokens of M*V*3 values, the spatial stream M*V tokens of T*3 values; each is pooled over
    its tokens, and a clip's feature is [temporal; spatial], 2*D wide. An input is one modality alone (its embedding) or
    the fusion of all that the encoder takes.

    persons, frames: M and T; V comes from the layout.
    heads: must divide width.
    norm: "post" (UmURL) or "pre" (with a last LayerNorm before pooling).
    positions_temporal, positions_spatial: "none", "sinusoidal" or "learned" (UmURL: sinusoidal and none).
    pooling: "max" (UmURL) or "mean" over tokens.
    modalities: what the encoder takes; of one alone there is nothing to fuse.
    fusion: of the embeddings, token by token, through a linear layer: their "mean" (UmURL), their "concatenation", or
        "attention" over them. Or "late": no modality sees another; each has a network of its own, and the feature of a
        clip is theirs side by side, see `parts`.
    feature_norm: "batch": each dimension of the feature less its mean, over its deviation, both of the global batch of
        one input in training and their running estimates in evaluation, without weights of its own. Pooled features
        share a large mean, which a cosine would see little beside. "none" is UmURL's.

    Raises ValueError for settings out of range.
    """

    def __init__(
        self,
        layout: SkeletonLayout,
        persons: int,
        frames: int,
        width: int,
        layers: int,
        heads: int,
        feedforward: int,
        dropout: float,
        norm: str,
        positions_temporal: str,
        positions_spatial: str,
        pooling: str,
        modalities: Sequence[str],
        fusion: str,
        feature_norm: str,
    ):
        super().__init__()
        if (
            not modalities
            or len(set(modalities)) != len(modalities)
            or not set(modalities) <= set(MODALITIES)
        ):
            raise ValueError(
                f"modalities must be different ones of {', '.join(MODALITIES)}, got {list(modalities)}"
            )
        kinds = {
            "fusion": (fusion, (*FUSIONS, "late")),
            "norm": (norm, NORMS),
            "pooling": (pooling, POOLINGS),
        }
        kinds |= {"feature_norm": (feature_norm, FEATURE_NORMS)}
        for name, (value, allowed) in kinds.items():
            if value not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value}")
        self.layout, self.persons, self.frames, self.width, self.pooling = (
            layout,
            persons,
            frames,
            width,
            pooling,
        )
        self.modalities = tuple(name for name in MODALITIES if name in modalities)
        self.late = fusion == "late"
        tokens = persons * layout.num_joints
        transformer = {"width": width, "layers": layers, "heads": heads, "feedforward": feedforward}
        transformer |= {"dropout": dropout, "norm": norm, "modalities": self.modalities}
        stream = LateStream if self.late else partial(Stream, fusion=fusion)
        self.temporal = stream(
            tokens=frames, inputs=tokens * 3, positions=positions_temporal, **transformer
        )
        self.spatial = stream(
            tokens=tokens, inputs=frames * 3, positions=positions_spatial, **transformer
        )
        # A modality alone has statistics of its own, where it is not all that the encoder takes.
        alone = self.modalities if len(self.modalities) > 1 and not self.late else ()
        self.feature_norm = nn.ModuleDict(
            {
                name: GlobalBatchNorm1d(self.feature_width, affine=False)
                for name in ("fused", *alone)
            }
            if feature_norm == "batch"
            else {}
        )

    @property
    def parts(self) -> dict[str, slice]:
        """What each network adds to the feature: with late fusion a modality each, else "fused", the whole of it."""
        size = 2 * self.width
        names = self.modalities if self.late else ("fused",)
        return {name: slice(i * size, (i + 1) * size) for i, name in enumerate(names)}

    @property
    def feature_width(self) -> int:
        return 2 * self.width * len(self.parts)

    def encode(self, views: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Features of several inputs from one batched pass through the shared transformer.

        views: name of an input -> views [B, T, M, V, 3]; the name of a modality stands for that modality alone (not
        with late fusion), any other name for the fusion of all. All have the same B. Returns name -> features
        [B, feature_width].
        """
        return self.encode_tokens(views)[0]

    def encode_tokens(
        self, views: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tokens]]:
        """The same, and name -> the encoded tokens that its features were pooled from (late fusion: all networks' side
        by side).
        """
        for view in views.values():
            if view.shape[1:] != (
                expected := (self.frames, self.persons, self.layout.num_joints, 3)
            ):
                raise ValueError(
                    f"views must be [B, {', '.join(map(str, expected))}], got {list(view.shape)}"
                )
        alone = [name for name in MODALITIES if name in views]
        fused = [name for name in views if name not in MODALITIES]
        if unknown := [name for name in alone if self.late or name not in self.modalities]:
            raise ValueError(f"this encoder has no features of {', '.join(unknown)} alone")
        inputs = {}
        for name in self.modalities if fused else alone:
            users = ([name] if name in alone else []) + fused
            inputs[name] = modality(name, torch.cat([views[user] for user in users]), self.layout)
        temporal = {name: x.flatten(2) for name, x in inputs.items()}
        spatial = {
            name: x.permute(0, 2, 3, 1, 4).flatten(3).flatten(1, 2) for name, x in inputs.items()
        }
        rows = len(views[(alone + fused)[0]])
        tokens = [
            self.temporal(temporal, rows * len(fused)),
            self.spatial(spatial, rows * len(fused)),
        ]
        names, shape = alone + fused, (len(views), rows)
        features = dict(zip(names, self.pooled(tokens).unflatten(0, shape), strict=True))
        if self.feature_norm:
            features = {name: self._norm_of(name)(feature) for name, feature in features.items()}
        return features, dict(
            zip(names, zip(*(x.unflatten(0, shape) for x in tokens), strict=True), strict=True)
        )

    def pooled(self, tokens: Sequence[Tensor]) -> Tensor:
        """Encoded tokens of both streams to features [N, feature_width] as they are before `feature_norm`:
        [temporal; spatial] of each network, one network after the other.
        """
        parts = [pool(x, self.pooling).unflatten(-1, (-1, self.width)) for x in tokens]
        return torch.stack(parts, dim=-2).flatten(1)

    def _norm_of(self, name: str) -> nn.Module:
        return self.feature_norm[name if name in self.feature_norm else "fused"]

    def features(self, views: Tensor) -> Tensor:
        """What the encoder is for: the features [B, feature_width] of views [B, T, M, V, 3], in one pass."""
        return self.encode({"fused": views})["fused"]


def pool(tokens: Tensor, kind: str) -> Tensor:
    """[N, tokens, D] to [N, D]: the "max" or the "mean"."""
    return tokens.max(1).values if kind == "max" else tokens.mean(1)


class Stream(nn.Module):
    """One of the two streams: embeddings of the modalities, fusion, positions, transformer."""

    def __init__(
        self,
        tokens: int,
        inputs: int,
        width: int,
        layers: int,
        heads: int,
        feedforward: int,
        dropout: float,
        norm: str,
        positions: str,
        modalities: Sequence[str],
        fusion: str,
    ):
        super().__init__()
        self.embedding = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.Linear(inputs, width),
                    nn.LayerNorm(width),
                    nn.ReLU(),
                    nn.Linear(width, width),
                )
                for name in modalities
            }
        )
        self.fusion = fusion_of(fusion, len(modalities), width)
        self.positions = Positions(positions, tokens, width)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.Sequential(
            *(Layer(width, heads, feedforward, dropout, norm) for _ in range(layers))
        )
        self.norm = nn.LayerNorm(width) if norm == "pre" else nn.Identity()

    def forward(self, inputs: Mapping[str, Tensor], fused: int) -> Tensor:
        """Encoded tokens [N, tokens, D] of all inputs: the modalities' own rows in their order, then the `fused` rows.

        inputs: modality -> tokens [own + fused, tokens, values]; own rows go in alone, the last `fused` rows together.
        """
        alone, together = [], []
        for name, x in inputs.items():
            own, shared = self.embedding[name](x).split([len(x) - fused, fused])
            alone.append(own)
            together.append(shared)
        if fused:
            alone.append(self.fusion(together))
        return self.transform(torch.cat(alone))

    def transform(self, x: Tensor) -> Tensor:
        """Embedded tokens to encoded tokens, both [N, tokens, D]."""
        return self.norm(self.layers(self.dropout(self.positions(x))))


class LateStream(nn.ModuleDict):
    """A stream of its own for each modality. Encoded tokens [N, tokens, modalities * D], side by side."""

    def __init__(self, modalities: Sequence[str], **settings):
        super().__init__(
            {name: Stream(modalities=[name], fusion="mean", **settings) for name in modalities}
        )

    def forward(self, inputs: Mapping[str, Tensor], fused: int) -> Tensor:
        return torch.cat(
            [stream({name: inputs[name]}, fused) for name, stream in self.items()], dim=-1
        )


class Positions(nn.Module):
    """Adds sine and cosine (Vaswani et al., 2017), a learned table or nothing to tell tokens [N, tokens, D] apart."""

    def __init__(self, kind: str, tokens: int, width: int):
        super().__init__()
        if kind == "learned":
            self.table = nn.Parameter(torch.empty(tokens, width).normal_(std=0.02))
        elif kind == "sinusoidal":
            self.register_buffer("table", sinusoids(tokens, width), persistent=False)
        elif kind == "none":
            self.table = None
        else:
            raise ValueError(f"positions must be one of none, sinusoidal, learned, got {kind}")

    def forward(self, x: Tensor) -> Tensor:
        return x if self.table is None else x + self.table.to(x.dtype)


def sinusoids(tokens: int, width: int) -> Tensor:
    """[tokens, width]: even columns sin(t / 10000^(i/width)), odd columns the cosine of the same."""
    if width % 2:
        raise ValueError(f"sinusoidal positions need an even width, got {width}")
    angle = torch.arange(tokens)[:, None] * torch.exp(
        torch.arange(0, width, 2) * (-math.log(10000.0) / width)
    )
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


class Layer(nn.Module):
    """A ReLU encoder layer, equal to `nn.TransformerEncoderLayer`, without its copies and its second code path."""

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float, norm: str):
        super().__init__()
        if width % heads:
            raise ValueError(f"heads={heads} must divide width={width}")
        self.heads, self.pre, self.rate = heads, norm == "pre", dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.expand = nn.Linear(width, feedforward)
        self.contract = nn.Linear(feedforward, width)
        self.norm_attention = nn.LayerNorm(width)
        self.norm_feedforward = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        nn.init.xavier_uniform_(self.qkv.weight)  # as nn.MultiheadAttention does
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.pre:
            x = x + self._attention(self.norm_attention(x))
            return x + self._feedforward(self.norm_feedforward(x))
        x = self.norm_attention(x + self._attention(x))
        return self.norm_feedforward(x + self._feedforward(x))

    def _attention(self, x: Tensor) -> Tensor:
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(x).chunk(3, -1)
        )
        x = F.scaled_dot_product_attention(
            query, key, value, dropout_p=self.rate if self.training else 0.0
        )
        return self.dropout(self.out(x.transpose(1, 2).flatten(2)))

    def _feedforward(self, x: Tensor) -> Tensor:
        return self.dropout(self.contract(self.dropout(F.relu(self.expand(x)))))
