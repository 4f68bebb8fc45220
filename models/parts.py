"""The parts of a feature [temporal; spatial], and means in which parts weigh differently."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

# A part of the feature -> the streams that it comes from, by number.
STREAMS = {"temporal": (0,), "spatial": (1,), "whole": (0, 1)}
# A value [] with the part of the feature that it is about.
OfPart = tuple[str, Tensor]


def part_of(feature: Tensor, part: str) -> Tensor:
    """Cut a part out of features [n, 2*D]: [n, D], or the whole."""
    width = feature.shape[1] // 2
    if part == "temporal":
        return feature[:, :width]
    if part == "spatial":
        return feature[:, width:]
    return feature


def mean_over_parts(values: Sequence[OfPart], weights: Mapping[str, float]) -> Tensor:
    """Compute the mean [] of values [], each with the weight of its part.

    Args:
        values: each with its part; at least one.
        weights: part -> its weight; only their ratios matter.
    """
    tensors = []
    shares = []
    for part, value in values:
        tensors.append(value)
        shares.append(weights[part])
    if len(set(shares)) == 1:
        return torch.stack(tensors).mean()
    total = sum(shares)
    weighted = []
    for value, share in zip(tensors, shares, strict=True):
        weighted.append(value * (share / total))
    return torch.stack(weighted).sum()
