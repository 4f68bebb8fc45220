"""Figures that show during training whether features still distinguish clips.

Shapes: N clips of the global batch, D features. Features are [N, D]; row i of all comes from
clip i.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from models.precision import full_precision

# Fewer clips do not show the spread of features: N clips never use more than N - 1 dimensions.
LEAST_CLIPS = 8
# On NW-UCLA random encoders have a deviation of 0.20 to 0.34 (1 to 6 layers, width 16 to 1024), and
# encoders that learned well 0.16 to 0.46. Those that mean squared error alone made collapse fell
# below 0.07 in 100 steps, and later to 0.03.
LEAST_DEVIATION = 0.08
# Below this, features use one direction alone. Clips of K classes, however tight, spread over
# K - 1.
LEAST_RANK = 2.0
# The rows of a block of pairs of clips.
_CLIPS_OF_A_BLOCK = 2048
# Figures for which a small value is bad. For the others a large value is.
_WORST_IS_LEAST = ("collapse/deviation", "collapse/effective_rank")


@torch.no_grad()
def figures(first: Tensor, second: Tensor | None = None) -> dict[str, Tensor]:
    """Describe the features of one or two views of the same clips.

    Args:
        first: [N, D].
        second: [N, D], of another view.

    Returns:
        Named figures [], none of them for fewer than LEAST_CLIPS clips:

        - collapse/deviation: see `deviation`, of `first`;
        - collapse/effective_rank: see `effective_rank`, of `first`;
        - collapse/uniformity: see `uniformity`, of `first`;
        - collapse/alignment, where there is a second view: mean squared distance of a clip's two
          features of length 1 (Wang and Isola, 2020), from 0 to 4.
    """
    if len(first) < LEAST_CLIPS:
        return {}
    values = {
        "collapse/deviation": deviation(first),
        "collapse/effective_rank": effective_rank(first),
        "collapse/uniformity": uniformity(first),
    }
    if second is not None:
        values["collapse/alignment"] = 2 - 2 * cosine(first, second)
    return values


def worst(networks: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Reduce the `figures` of several networks to the worst of each.

    So no network that works hides one that collapsed.
    """
    result = {}
    for name in networks[0]:
        values = torch.stack([network[name] for network in networks])
        # If one of the values is NaN, both extremes are NaN.
        extremes = values.aminmax()
        result[name] = extremes.min if name in _WORST_IS_LEAST else extremes.max
    return result


def collapsed(row: Mapping[str, float]) -> str | None:
    """Say in a few words why features with these figures are useless.

    Args:
        row: the logged metrics of a step. Only those that begin with "collapse/" are used.

    Returns:
        The reason in words; None if the features are fine, or the row has no such metrics.
    """
    values = {name: value for name, value in row.items() if name.startswith("collapse/")}
    if not values:
        return None
    for name, value in values.items():
        if not math.isfinite(value):
            return f"{name} is not finite"
    spread = values["collapse/deviation"]
    if spread < LEAST_DEVIATION:
        return (
            f"all clips have nearly the same feature: deviation {spread:.3f}, "
            f"below {LEAST_DEVIATION:g}"
        )
    rank = values["collapse/effective_rank"]
    if rank < LEAST_RANK:
        return (
            f"features vary along one direction alone: effective rank {rank:.2f}, "
            f"below {LEAST_RANK:g}"
        )
    return None


@torch.no_grad()
def quality(
    features: Tensor, views: tuple[Tensor, Tensor], parts: Sequence[slice]
) -> dict[str, Tensor]:
    """Describe the features of an encoder without labels, to compare it with other encoders.

    Args:
        features: [N, D], of whole clips.
        views: two [n, D]: row i of both are views of one clip.
        parts: columns of the features that come from networks of their own. Each figure is that of
            the worst network.

    Returns:
        Named figures []:

        - effective_rank: see `effective_rank`, of `features`; large is good;
        - uniformity: see `uniformity`, of `features`; small is good;
        - alignment: mean squared distance of a clip's two views, of length 1 (Wang and Isola,
          2020), from 0 to 4; small is good.
    """
    first, second = views
    networks = []
    for part in parts:
        ranks = effective_rank(features[:, part])
        spread = uniformity(features[:, part])
        distance = 2 - 2 * cosine(first[:, part], second[:, part])
        networks.append(torch.stack([ranks, spread.to(ranks.dtype), distance.to(ranks.dtype)]))
    table = torch.stack(networks)
    return {
        "effective_rank": table[:, 0].amin(),
        "uniformity": table[:, 1].amax(),
        "alignment": table[:, 2].amax(),
    }


@full_precision
def deviation(features: Tensor) -> Tensor:
    """Compute the root mean square distance of the features, each of length 1, from their mean.

    It is sqrt(D) times the deviation of a dimension that SimSiam watches (Chen and He, 2021).

    Returns:
        []; 0 where all clips have one feature, 1 where they point everywhere.
    """
    directions = F.normalize(features, dim=1)
    return (directions - directions.mean(0)).square().sum(1).mean().sqrt()


@full_precision
def effective_rank(features: Tensor) -> Tensor:
    """Compute how many dimensions the features use (RankMe, Garrido et al., 2023).

    It is exp of the entropy of the singular values, as shares of their sum. They are those of the
    features less their mean, because features pooled by the maximum share a large mean, which would
    outweigh the rest. They come from the eigenvalues of the smaller of the two Gram matrices, in
    float64 because these are squares.

    Returns:
        [], between 1 and min(N - 1, D); NaN where a feature is not finite.
    """
    centred = (features - features.mean(0)).double()
    gram = centred @ centred.T if len(centred) < centred.shape[1] else centred.T @ centred
    finite = gram.isfinite().all()
    # `eigvalsh` raises for NaN, so it gets zeros in its place.
    eigenvalues = torch.linalg.eigvalsh(torch.where(finite, gram, 0))
    values = eigenvalues.clamp(min=0).sqrt()
    shares = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)
    return torch.where(finite, torch.special.entr(shares).sum().exp(), torch.nan)


@full_precision
def uniformity(features: Tensor) -> Tensor:
    """Compute how evenly features of length 1 are spread (Wang and Isola, 2020).

    It is the log of the mean of exp(-2 |x_i - x_j|^2) over pairs of clips.

    Returns:
        []; 0 where all clips have one feature, near -4 where they are spread evenly.
    """
    directions = F.normalize(features, dim=1)
    count = len(features)
    sums = []
    # A block of pairs at a time, so that memory does not grow with the square of the clips.
    for start in range(0, count, _CLIPS_OF_A_BLOCK):
        block = directions[start : start + _CLIPS_OF_A_BLOCK]
        distances = 2 - 2 * block @ directions.T
        # An infinite distance of a clip to itself drops it from the sum.
        distances.diagonal(start).fill_(math.inf)
        sums.append((-2 * distances).flatten().logsumexp(0))
    return torch.stack(sums).logsumexp(0) - math.log(count * (count - 1))


@full_precision
def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Compute the mean cosine [] of the rows of two tensors [N, D]."""
    return F.cosine_similarity(a, b, dim=1).mean()
