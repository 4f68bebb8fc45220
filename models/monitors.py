"""Figures that say during training whether features still tell clips apart.

Features are those of the global batch, [N, D], row i of all from clip i.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from models.precision import full_precision

# Fewer clips say nothing of how features are spread: N clips never use more than N - 1 dimensions.
LEAST_CLIPS = 8
# On NW-UCLA random encoders have a deviation of 0.20 to 0.34 (1 to 6 layers, width 16 to 1024), encoders that learned
# well 0.16 to 0.46; those that mean squared error alone makes collapse fell below 0.07 in 100 steps, and on to 0.03.
LEAST_DEVIATION = 0.08
# One direction alone; clips of K classes, however tight, spread over K - 1.
LEAST_RANK = 2.0


@torch.no_grad()
def figures(first: Tensor, second: Tensor | None = None) -> dict[str, Tensor]:
    """Named figures [] of the features of one or two views of the same clips; none for fewer than LEAST_CLIPS of them.

    - collapse/deviation: see `deviation`, of `first`;
    - collapse/effective_rank: see `effective_rank`, of `first`;
    - collapse/uniformity: see `uniformity`, of `first`;
    - collapse/alignment, where there is a second view: mean squared distance of a clip's two features of length 1 (Wang
      and Isola, 2020), 0 to 4.
    """
    if len(first) < LEAST_CLIPS:
        return {}
    values = {
        "collapse/deviation": deviation(first),
        "collapse/effective_rank": effective_rank(first),
        "collapse/uniformity": uniformity(first),
    }
    return (
        values if second is None else values | {"collapse/alignment": 2 - 2 * cosine(first, second)}
    )


def worst(networks: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The `figures` of several networks as one, of each the worst: no network that lives hides one that collapsed."""
    least = {"collapse/deviation", "collapse/effective_rank"}  # NaN stays NaN in both directions
    return {
        name: torch.stack([of[name] for of in networks]).aminmax()[0 if name in least else 1]
        for name in networks[0]
    }


def collapsed(row: Mapping[str, float]) -> str | None:
    """Why features with these figures are no use, in a few words; None where they are or the row holds no figures."""
    figures = {name: value for name, value in row.items() if name.startswith("collapse/")}
    if not figures:
        return None
    if strange := [name for name, value in figures.items() if not math.isfinite(value)]:
        return f"{strange[0]} is not finite"
    spread, rank = figures["collapse/deviation"], figures["collapse/effective_rank"]
    if spread < LEAST_DEVIATION:
        return f"all clips have nearly the same feature: deviation {spread:.3f}, below {LEAST_DEVIATION:g}"
    if rank < LEAST_RANK:
        return f"features vary along one direction alone: effective rank {rank:.2f}, below {LEAST_RANK:g}"
    return None


@full_precision
def deviation(features: Tensor) -> Tensor:
    """Root mean square distance of the features, each of length 1, from their mean: 0 where all clips have one feature,
    1 where they point everywhere. It is sqrt(D) times the deviation of a dimension that SimSiam watches (Chen and He,
    2021).
    """
    directions = F.normalize(features, dim=1)
    return (directions - directions.mean(0)).square().sum(1).mean().sqrt()


@full_precision
def effective_rank(features: Tensor) -> Tensor:
    """exp of the entropy of the singular values, as shares of their sum (RankMe, Garrido et al., 2023): between 1 and
    min(N - 1, D), how many dimensions are used.

    Of the features less their mean: features pooled by the maximum share a large mean, which would outweigh the rest.
    From the eigenvalues of the smaller of the two Gram matrices, in float64 because they are squares.
    """
    centred = (features - features.mean(0)).double()
    gram = centred @ centred.T if len(centred) < centred.shape[1] else centred.T @ centred
    finite = gram.isfinite().all()
    values = (
        torch.linalg.eigvalsh(torch.where(finite, gram, 0)).clamp(min=0).sqrt()
    )  # an error for NaN
    shares = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)
    return torch.where(finite, torch.special.entr(shares).sum().exp(), torch.nan)


@full_precision
def uniformity(features: Tensor) -> Tensor:
    """log of the mean of exp(-2 |x_i - x_j|^2) over pairs of clips, features of length 1 (Wang and Isola, 2020): 0
    where all clips have one feature, near -4 where they are spread evenly.
    """
    directions = F.normalize(features, dim=1)
    distances = (2 - 2 * directions @ directions.T).fill_diagonal_(math.inf)
    count = len(features)
    return (-2 * distances).flatten().logsumexp(0) - math.log(count * (count - 1))


@full_precision
def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Mean cosine of the rows."""
    return F.cosine_similarity(a, b, dim=1).mean()
