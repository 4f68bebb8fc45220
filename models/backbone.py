"""The two-stream fused skeleton transformer of UmURL (Sun et al., ACM MM 2023), with variations.

The variations are those of its successors (USDRL, Decomposition and Composition). Shapes: B clips,
N rows (B for each input of a pass), T frames, M persons, V joints, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.batchnorm import GlobalBatchNorm1d
from models.choices import (
    FEATURE_NORMS,
    FUSIONS,
    MODALITIES,
    NORMS,
    POOLINGS,
    POSITIONS,
    require_choice,
    require_different,
)
from models.modalities import modality
from models.skeleton import SkeletonLayout
from models.streams import LateStream, Stream, StreamSettings

# The tokens of the temporal stream [B, T, D] and those of the spatial stream [B, M*V, D].
Tokens = tuple[Tensor, Tensor]
# The name of the fusion of all modalities, as an input and as a feature norm.
FUSED = "fused"


@dataclass(frozen=True)
class BackboneSettings:
    """How a backbone is built: the section `model` of the configuration.

    Args:
        frames: T.
        width: D.
        layers: number of transformer layers of each stream.
        heads: of each layer; must divide the width.
        feedforward: width of the hidden layer in each transformer layer.
        dropout: probability that a value is dropped in training.
        norm: "post" (UmURL) or "pre", with a last LayerNorm before pooling.
        positions_temporal: "none", "sinusoidal" (UmURL) or "learned".
        positions_spatial: "none" (UmURL), "sinusoidal" or "learned".
        pooling: "max" (UmURL) or "mean" over the tokens.
        modalities: what the encoder takes. One modality alone leaves nothing to fuse.
        fusion: how the embeddings become one input, token by token and through a linear layer:
            their "mean" (UmURL), their "concatenation", or "attention" over them. Or "late": no
            modality sees another, each has a network of its own, and the feature of a clip is
            theirs side by side, see `Backbone.parts`.
        feature_norm: "none" (UmURL), or "batch": each dimension of the feature less its mean,
            divided by its deviation, without weights of its own. In training both are those of the
            global batch of one input, in evaluation their running estimates. Pooled features share
            a large mean, which hides from a cosine how they differ.

    Raises:
        ValueError: A setting is not one of those allowed.
    """

    frames: int
    width: int
    layers: int
    heads: int
    feedforward: int
    dropout: float
    norm: str
    positions_temporal: str
    positions_spatial: str
    pooling: str
    modalities: Sequence[str]
    fusion: str
    feature_norm: str

    def __post_init__(self) -> None:
        require_different("modalities", self.modalities, MODALITIES)
        require_choice("fusion", self.fusion, FUSIONS)
        require_choice("norm", self.norm, NORMS)
        require_choice("positions_temporal", self.positions_temporal, POSITIONS)
        require_choice("positions_spatial", self.positions_spatial, POSITIONS)
        require_choice("pooling", self.pooling, POOLINGS)
        require_choice("feature_norm", self.feature_norm, FEATURE_NORMS)


class Backbone(nn.Module):
    """Clips to features: embeddings, their fusion, and one transformer for each stream.

    All inputs share the transformers. The temporal stream sees T tokens of M*V*3 values, the
    spatial stream M*V tokens of T*3 values. Each is pooled over its tokens, and the feature of a
    clip is [temporal; spatial], 2*D wide. An input is one modality alone (its embedding), or the
    fusion of all that the encoder takes.

    Args:
        layout: the skeleton; it says V and which joints are connected.
        persons: M.
        settings: everything else.

    Raises:
        ValueError: The heads do not divide the width, or sinusoidal positions get an odd width.
    """

    def __init__(self, layout: SkeletonLayout, persons: int, settings: BackboneSettings) -> None:
        super().__init__()
        self.layout = layout
        self.persons = persons
        self.frames = settings.frames
        self.width = settings.width
        self.pooling = settings.pooling
        # In a fixed order, whatever the order of the setting.
        self.modalities = tuple(name for name in MODALITIES if name in settings.modalities)
        self.late = settings.fusion == "late"
        joints = persons * layout.num_joints
        self.temporal = self._build_stream(
            settings,
            tokens=settings.frames,
            inputs=joints * 3,
            positions=settings.positions_temporal,
        )
        self.spatial = self._build_stream(
            settings,
            tokens=joints,
            inputs=settings.frames * 3,
            positions=settings.positions_spatial,
        )
        self.feature_norm = nn.ModuleDict()
        if settings.feature_norm == "batch":
            for name in self._inputs_with_statistics():
                self.feature_norm[name] = GlobalBatchNorm1d(self.feature_width, affine=False)

    def _build_stream(
        self, settings: BackboneSettings, *, tokens: int, inputs: int, positions: str
    ) -> Stream | LateStream:
        stream = StreamSettings(
            tokens=tokens,
            inputs=inputs,
            width=settings.width,
            layers=settings.layers,
            heads=settings.heads,
            feedforward=settings.feedforward,
            dropout=settings.dropout,
            norm=settings.norm,
            positions=positions,
        )
        if self.late:
            return LateStream(stream, self.modalities)
        return Stream(stream, self.modalities, settings.fusion)

    def _inputs_with_statistics(self) -> tuple[str, ...]:
        """The inputs that `feature_norm` keeps apart: the fused one, and each modality alone.

        A modality has no statistics of its own where it is all that the encoder (or, with late
        fusion, a network of it) takes.
        """
        if self.late or len(self.modalities) == 1:
            return (FUSED,)
        return (FUSED, *self.modalities)

    @property
    def parts(self) -> dict[str, slice]:
        """The columns of the feature that each network makes.

        With late fusion a network is named by its modality; otherwise "fused" makes all columns.
        """
        size = 2 * self.width
        names = self.modalities if self.late else (FUSED,)
        columns = {}
        for number, name in enumerate(names):
            columns[name] = slice(number * size, (number + 1) * size)
        return columns

    @property
    def feature_width(self) -> int:
        """Width of a feature: 2*D, with late fusion 2*D for each modality."""
        return 2 * self.width * len(self.parts)

    def features(self, views: Tensor) -> Tensor:
        """Encode clips for a later task, in one pass.

        Args:
            views: [B, T, M, V, 3].

        Returns:
            The features [B, feature_width].
        """
        return self.encode({FUSED: views})[FUSED]

    def encode(self, views: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Encode several inputs in one batched pass through the shared transformers.

        Args:
            views: name of an input -> views [B, T, M, V, 3], with the same B for all. The name of a
                modality stands for that modality alone (not with late fusion), any other name for
                the fusion of all.

        Returns:
            Name -> features [B, feature_width].

        Raises:
            ValueError: Views have another shape, or the encoder does not take a modality alone.
        """
        features, _ = self.encode_tokens(views)
        return features

    def encode_tokens(
        self, views: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tokens]]:
        """Encode as `encode` does, and return the encoded tokens too.

        One pass encodes all inputs. With the inputs joint, bone, fused and other, each of B = 2
        clips, an encoder of three modalities embeds these rows (j0 is clip 0 of the input joint):

                      alone   | together
            joint     j0 j1   | f0 f1 o0 o1
            bone      b0 b1   | f0 f1 o0 o1
            motion            | f0 f1 o0 o1

        The fusion turns the three rows f0 of the right half into one, and so on. The transformers
        then see, in the order of the inputs:

            j0 j1 | b0 b1 | f0 f1 | o0 o1

        Args:
            views: see `encode`.

        Returns:
            Name -> features, see `encode`; and name -> the tokens that the features were pooled
            from, with late fusion those of all networks side by side.

        Raises:
            ValueError: See `encode`.
        """
        alone = [name for name in MODALITIES if name in views]
        fused = [name for name in views if name not in MODALITIES]
        self._check(views, alone)
        names = alone + fused
        rows = len(views[names[0]])

        inputs = self._modality_rows(views, alone, fused)
        temporal_NTD = self.temporal(_map(_frame_tokens, inputs), rows * len(fused))
        spatial_NSD = self.spatial(_map(_joint_tokens, inputs), rows * len(fused))

        # From rows to inputs: [N, ...] to a [B, ...] for each input.
        shape = (len(names), rows)
        pooled = self.pooled((temporal_NTD, spatial_NSD)).unflatten(0, shape).unbind()
        temporal = temporal_NTD.unflatten(0, shape).unbind()
        spatial = spatial_NSD.unflatten(0, shape).unbind()
        features = {}
        tokens = {}
        for number, name in enumerate(names):
            features[name] = self._normalised(name, pooled[number])
            tokens[name] = (temporal[number], spatial[number])
        return features, tokens

    def _check(self, views: Mapping[str, Tensor], alone: Sequence[str]) -> None:
        expected = (self.frames, self.persons, self.layout.num_joints, 3)
        for view in views.values():
            if view.shape[1:] != expected:
                shape = ", ".join(map(str, expected))
                raise ValueError(f"views must be [B, {shape}], got {list(view.shape)}")
        unknown = [name for name in alone if self.late or name not in self.modalities]
        if unknown:
            raise ValueError(f"this encoder has no features of {', '.join(unknown)} alone")

    def _modality_rows(
        self, views: Mapping[str, Tensor], alone: Sequence[str], fused: Sequence[str]
    ) -> dict[str, Tensor]:
        """The rows that each modality is computed from, as `encode_tokens` shows them.

        Returns:
            Modality -> [rows alone + rows together, T, M, V, 3]. Without fused inputs only the
            modalities that are encoded alone.
        """
        needed = self.modalities if fused else alone
        inputs = {}
        for name in needed:
            sources = []
            if name in alone:
                sources.append(views[name])
            for fused_name in fused:
                sources.append(views[fused_name])
            inputs[name] = modality(name, torch.cat(sources), self.layout)
        return inputs

    def pooled(self, tokens: Sequence[Tensor]) -> Tensor:
        """Pool encoded tokens to features as they are before `feature_norm`.

        Args:
            tokens: of both streams, [N, T, ...] and [N, M*V, ...].

        Returns:
            [N, feature_width]: [temporal; spatial] of each network, one network after the other.
        """
        # [N, K*D] of each stream becomes [N, K, D], for the K networks. Stacked they are
        # [N, K, 2, D], so that the two halves of a network stand side by side.
        halves = []
        for x in tokens:
            halves.append(pool(x, self.pooling).unflatten(-1, (-1, self.width)))
        return torch.stack(halves, dim=-2).flatten(1)

    def _normalised(self, name: str, feature: Tensor) -> Tensor:
        if not self.feature_norm:
            return feature
        norm = name if name in self.feature_norm else FUSED
        return self.feature_norm[norm](feature)


def _map(tokens_of: Callable[[Tensor], Tensor], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Cut the rows of each modality into tokens."""
    return {name: tokens_of(x) for name, x in inputs.items()}


def _frame_tokens(x_NTMV3: Tensor) -> Tensor:
    """One token for each frame: [N, T, M*V*3]."""
    return x_NTMV3.flatten(2)


def _joint_tokens(x_NTMV3: Tensor) -> Tensor:
    """One token for each joint of each person: [N, M*V, T*3]."""
    x_NMVT3 = x_NTMV3.permute(0, 2, 3, 1, 4)
    return x_NMVT3.flatten(3).flatten(1, 2)


def pool(tokens: Tensor, kind: str) -> Tensor:
    """Pool [N, L, D] to [N, D] by the "max" or the "mean" over the tokens."""
    if kind == "max":
        return tokens.max(1).values
    return tokens.mean(1)
