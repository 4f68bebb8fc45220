"""Soft targets: how much each other clip of the batch counts as the same as a clip.

A contrastive loss calls all other clips of a batch wrong, also those of the same action. Here the
features of whole, unaugmented clips say which other clips resemble a clip. `docs/method.md` has the
equations. Shapes: n clips of this worker, N clips of the global batch, D width of a feature, K
features of a clip.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from models.backbone import FUSED
from models.choices import TARGET_ENCODERS, TARGETS, require_choice
from models.distributed import gather, gather_all
from models.precision import full_precision

# The temperatures among which the one of a perplexity is looked for. At the first a row has one
# clip, or those that are equally near; at the second all clips count alike.
_COLDEST = 1e-5
_HOTTEST = 1e3
# They leave a factor of 1 + 2e-8 between the bounds.
_HALVINGS = 30


@dataclass(frozen=True)
class TargetSettings:
    """The section `objective.targets` of the configuration.

    Args:
        kind: "one_hot", the clip itself alone; "composed", the similarities of the unimodal
            features, averaged over the modalities; or "self", those of the fused feature.
        own_share: lambda, the part of the target that is the clip itself, from 0 to 1.
        temperature: tau_t, divides the cosines that become similarities; None with a perplexity.
        perplexity: each row gets the temperature at which exp of its entropy is this number; None
            with a temperature.
        encoder: "current", the encoder as it is; or "average", the average of its weights.

    Raises:
        ValueError: A value is out of range, or not exactly one of temperature and perplexity is
            given.
    """

    kind: str
    own_share: float
    temperature: float | None
    perplexity: float | None
    encoder: str

    def __post_init__(self) -> None:
        require_choice("targets.kind", self.kind, TARGETS)
        require_choice("targets.encoder", self.encoder, TARGET_ENCODERS)
        if not 0 <= self.own_share <= 1:
            raise ValueError(f"targets.own_share must be from 0 to 1, got {self.own_share}")
        if (self.temperature is None) == (self.perplexity is None):
            raise ValueError(
                "one of targets.temperature and targets.perplexity must be a number, "
                f"and the other null, got {self.temperature} and {self.perplexity}"
            )
        if self.temperature is not None and self.temperature <= 0:
            raise ValueError(f"targets.temperature must be positive, got {self.temperature}")
        if self.perplexity is not None and self.perplexity <= 1:
            raise ValueError(f"targets.perplexity must be above 1, got {self.perplexity}")


@dataclass(frozen=True)
class TargetInputs:
    """What a worker knows of its clips beyond the features that the losses compare.

    Args:
        features: the names in `SoftTargets.passes` -> [n, D], of whole clips, without gradient.
        performances: int64 [n], equal for clips of the same performance; None if all differ.
        labels: int64 [n], -1 where unknown; None if all are. Only figures are made of them.
    """

    features: Mapping[str, Tensor] = field(default_factory=dict)
    performances: Tensor | None = None
    labels: Tensor | None = None


@dataclass(frozen=True)
class Targets:
    """What a comparison of all pairs of clips should find. Row i is about clip i.

    Args:
        similar: P [N, N], each row sums to 1; None if no loss needs it.
        answers: W = own_share * I + (1 - own_share) * P; None if it is I.
        neighbours: bool [N, N], the clips that P may give a share to: other clips, of another
            performance if those are masked. Where there is none, the clip itself; None with P.
        twins: bool [N, N], other clips of the same performance, which are no wrong answers; None if
            they are.
    """

    similar: Tensor | None = None
    answers: Tensor | None = None
    neighbours: Tensor | None = None
    twins: Tensor | None = None

    def figures(self, labels: Tensor | None, counts: Sequence[int]) -> dict[str, Tensor]:
        """Describe P.

        Args:
            labels: int64 [n] of this worker's clips, -1 where unknown; None if all are.
            counts: how many clips each worker holds.

        Returns:
            Named figures []: "targets/entropy", its mean over the rows, in nats;
            "targets/perplexity", exp of that; and where labels are known "targets/purity", the mean
            share that clips with a label give to clips of the same label.
        """
        if self.similar is None:
            return {}
        entropy = torch.special.entr(self.similar).sum(1).mean()
        result = {"targets/entropy": entropy, "targets/perplexity": entropy.exp()}
        if labels is None:
            return result
        labels_N = gather(labels, counts)
        known_N = labels_N >= 0
        if bool(known_N.any()):
            same_NN = labels_N[:, None] == labels_N
            result["targets/purity"] = (self.similar * same_NN).sum(1)[known_N].mean()
        return result


class SoftTargets:
    """Makes the targets of a step.

    Args:
        settings: see `TargetSettings`.
        mask_performances: whether other clips of the same performance are left out, both of the
            wrong answers and of the similar clips.
        has_relations: whether a loss needs P itself, whatever the share of the clip is.
    """

    def __init__(
        self, settings: TargetSettings, *, mask_performances: bool, has_relations: bool
    ) -> None:
        self.settings = settings
        self.mask_performances = mask_performances
        # With the whole share for the clip itself, P has no effect.
        self.needs_similar = settings.kind != "one_hot" and (
            has_relations or settings.own_share < 1
        )

    def passes(self, modalities: Sequence[str]) -> tuple[str, ...]:
        """The names of the inputs of whole clips to encode; none if P is not needed."""
        if not self.needs_similar:
            return ()
        return tuple(modalities) if self.settings.kind == "composed" else (FUSED,)

    @torch.no_grad()
    def __call__(self, inputs: TargetInputs, counts: Sequence[int]) -> Targets:
        """Make the targets of the clips of all workers.

        Args:
            inputs: of this worker's clips.
            counts: how many clips each worker holds.

        Raises:
            ValueError: The features of whole clips are missing.
        """
        twins = None
        if self.mask_performances and inputs.performances is not None:
            numbers_N = gather(inputs.performances, counts)
            twins = (numbers_N[:, None] == numbers_N).fill_diagonal_(False)
        if not self.needs_similar:
            return Targets(twins=twins)
        if not inputs.features:
            raise ValueError("soft targets need the features of whole clips")
        features = gather_all(list(inputs.features.values()), counts)
        count = sum(counts)
        neighbours = _neighbours(count, twins, features[0].device)
        similar = similarities(
            features,
            neighbours,
            temperature=self.settings.temperature,
            perplexity=self.settings.perplexity,
        )
        share = self.settings.own_share
        answers = None
        if share < 1:
            own = torch.eye(count, dtype=similar.dtype, device=similar.device)
            answers = share * own + (1 - share) * similar
        return Targets(similar=similar, answers=answers, neighbours=neighbours, twins=twins)


def _neighbours(count: int, twins: Tensor | None, device: torch.device) -> Tensor:
    """Return which clips may be similar to each clip, see `Targets`."""
    itself = torch.eye(count, dtype=torch.bool, device=device)
    if twins is None:
        return ~itself
    neighbours = ~(itself | twins)
    lonely_N1 = ~neighbours.any(1, keepdim=True)
    return neighbours | (itself & lonely_N1)


def similarities(
    features: Sequence[Tensor],
    neighbours: Tensor,
    *,
    temperature: float | None,
    perplexity: float | None,
) -> Tensor:
    """Compute P: the mean over the features of softmax_j(cos(t_i, t_j) / temperature).

    Args:
        features: K features [N, D] of the same clips.
        neighbours: bool [N, N], over which clips j the softmax of row i goes: at least one.
        temperature: of all rows, or None.
        perplexity: instead of a temperature. Each row of each feature gets the temperature at which
            exp of its entropy is this number, or is as near as the row allows.

    Returns:
        P [N, N], in full precision.
    """
    cosines = []
    for feature in features:
        cosines.append(_cosines(feature))
    cosines_KNN = torch.stack(cosines)
    if temperature is not None:
        return _shares(cosines_KNN / temperature, neighbours).mean(0)
    assert perplexity is not None
    return _shares_of(cosines_KNN, neighbours, perplexity).mean(0)


@full_precision
def _cosines(feature_ND: Tensor) -> Tensor:
    directions_ND = F.normalize(feature_ND, dim=1)
    return directions_ND @ directions_ND.T


def _shares(logits: Tensor, neighbours: Tensor) -> Tensor:
    """Softmax over the neighbours of each row."""
    return logits.masked_fill(~neighbours, -math.inf).softmax(-1)


def _shares_of(cosines_KNN: Tensor, neighbours: Tensor, perplexity: float) -> Tensor:
    """The shares of each row at the temperature that gives it the perplexity, by bisection.

    The entropy of a row grows with the temperature. The bisection goes over its logarithm.
    """
    wanted = math.log(perplexity)
    shape = (*cosines_KNN.shape[:-1], 1)
    low_KN1 = cosines_KNN.new_full(shape, math.log(_COLDEST))
    high_KN1 = cosines_KNN.new_full(shape, math.log(_HOTTEST))
    for _ in range(_HALVINGS):
        middle_KN1 = (low_KN1 + high_KN1) / 2
        shares_KNN = _shares(cosines_KNN / middle_KN1.exp(), neighbours)
        too_hot = torch.special.entr(shares_KNN).sum(-1, keepdim=True) > wanted
        high_KN1 = torch.where(too_hot, middle_KN1, high_KN1)
        low_KN1 = torch.where(too_hot, low_KN1, middle_KN1)
    return _shares(cosines_KNN / ((low_KN1 + high_KN1) / 2).exp(), neighbours)


def soft_cross_entropy(logits_NN: Tensor, shares_NN: Tensor, excluded: Tensor | None) -> Tensor:
    """Compute mean_i -sum_j shares_ij log softmax_j(logits_ij), [].

    Args:
        logits_NN: of row i for each clip j.
        shares_NN: each row sums to 1; 0 where a clip is excluded.
        excluded: bool [N, N], the clips over which the softmax of row i does not go; None: over
            all.
    """
    if excluded is None:
        return F.cross_entropy(logits_NN, shares_NN)
    logs_NN = logits_NN.masked_fill(excluded, -math.inf).log_softmax(1)
    # 0 times an infinite logarithm would not be a number.
    return -(shares_NN * logs_NN.masked_fill(excluded, 0)).sum(1).mean()
