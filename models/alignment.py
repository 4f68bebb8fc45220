"""How near two features of the same clips are. Tensors are projections of the global batch, [N, D], row i of both from
clip i.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.precision import full_precision


class InfoNCE(nn.Module):
    """Symmetric InfoNCE (van den Oord et al., 2018; the NT-Xent of SimCLR without negatives of the same kind).

    mean_i -log softmax_j(cos(a_i, b_j) / temperature) at j = i, averaged with the same for a and b exchanged.
    Raises ValueError for fewer than two clips (nothing to tell apart) and for a temperature that is not positive.
    """

    regularises = False

    def __init__(self, temperature: float):
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.temperature = temperature

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        check_pair(a, b)
        return _infonce(a, b, self.temperature)


class VarianceCovariance(nn.Module):
    """A distance, kept from collapsing by variance and covariance regularisation (VICReg, Bardes et al., 2022).

    The alignment is invariance * MSE(a, b), or invariance * mean_i (1 - cos(a_i, b_i)) where `cosine`.
    `regularisation` is for each projected tensor once:
    variance * mean_d relu(1 - sqrt(var_d + 1e-4)) + covariance * sum_(d != e) cov_de^2 / D, both unbiased.
    UmURL's coefficients are 5, 5 and 1, with MSE. Raises ValueError for fewer than two clips.
    """

    regularises = True

    def __init__(self, invariance: float, variance: float, covariance: float, cosine: bool = False):
        super().__init__()
        self.invariance, self.variance, self.covariance = invariance, variance, covariance
        self.distance = _cosine_distance if cosine else _squared_error

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        check_pair(a, b)
        return self.invariance * self.distance(a, b)

    def regularisation(self, z: Tensor) -> Tensor:
        check_pair(z, z)
        return self.variance * variance_hinge(z) + self.covariance * covariance_penalty(z)


def alignment(
    loss: str, temperature: float, invariance: float, variance: float, covariance: float
) -> nn.Module:
    """The alignment that `objective.alignment` names: "infonce", or with regularisation "variance_covariance" (squared
    errors) or "cosine". Each uses its own of the coefficients.
    """
    if loss == "infonce":
        return InfoNCE(temperature)
    if loss in ("variance_covariance", "cosine"):
        return VarianceCovariance(invariance, variance, covariance, cosine=loss == "cosine")
    raise ValueError(
        f"alignment loss must be one of infonce, variance_covariance, cosine, got {loss}"
    )


def check_pair(a: Tensor, b: Tensor) -> None:
    """Raises ValueError unless both are [N, D] of at least two clips."""
    if a.ndim != 2 or a.shape != b.shape:
        raise ValueError(
            f"features to align must both be [N, D], got {list(a.shape)} and {list(b.shape)}"
        )
    if len(a) < 2:
        raise ValueError("the loss compares clips with each other: a batch needs at least two")


@full_precision
def _infonce(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    logits = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T / temperature
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


@full_precision
def _squared_error(a: Tensor, b: Tensor) -> Tensor:
    return F.mse_loss(a, b)


@full_precision
def _cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    return 1 - (F.normalize(a, dim=1) * F.normalize(b, dim=1)).sum(1).mean()


@full_precision
def variance_hinge(z: Tensor) -> Tensor:
    """mean_d relu(1 - sqrt(var_d + 1e-4))"""
    return F.relu(1 - (z.var(0) + 1e-4).sqrt()).mean()


@full_precision
def covariance_penalty(z: Tensor) -> Tensor:
    """sum_(d != e) cov_de^2 / D.

    The squares of Z^T Z and of Z Z^T have the same sum, so the smaller of the two matrices is enough. (With many more
    features than clips the diagonal that is taken off is a small part of the sum: nothing is lost to rounding.)
    """
    count, width = z.shape
    z = z - z.mean(0)
    product = z @ z.T if count < width else z.T @ z
    diagonal = z.square().sum(0)
    return (product.square().sum() - diagonal.square().sum()) / ((count - 1) ** 2 * width)
