"""Alignment losses: they are small if two features of the same clip are near each other.

Shapes: N clips of the global batch, D features. Both tensors are projections, [N, D]; row i of both
comes from clip i.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.choices import ALIGNMENT_LOSSES, require_choice
from models.precision import full_precision
from models.soft_targets import Targets, soft_cross_entropy

# Keeps the square root of a variance differentiable at zero (VICReg, and UmURL).
_VARIANCE_FLOOR = 1e-4


class InfoNCE(nn.Module):
    """Symmetric InfoNCE (van den Oord et al., 2018).

    It is the NT-Xent loss of SimCLR without negatives of the same kind:
    mean_i -log softmax_j(cos(a_i, b_j) / temperature) at j = i, averaged with the same for a and b
    exchanged. With soft targets the right answer is not j = i alone, but each j by its share.

    Args:
        temperature: divides the cosines; above 0.

    Raises:
        ValueError: The temperature is not positive, or `forward` gets fewer than two clips, which
            leaves nothing to tell apart.
    """

    def __init__(self, temperature: float) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.temperature = temperature

    def forward(self, a_ND: Tensor, b_ND: Tensor, targets: Targets | None = None) -> Tensor:
        """Return the loss [] of two features [N, D] of the same clips.

        Args:
            a_ND: one feature.
            b_ND: the other.
            targets: what the right answers are, and which clips are no wrong ones. None: each clip
                itself is right, all others are wrong.
        """
        check_pair(a_ND, b_ND)
        return _infonce(a_ND, b_ND, self.temperature, targets or Targets())


class VarianceCovariance(nn.Module):
    """A distance, and a regularisation against collapse (VICReg, Bardes et al., 2022).

    UmURL's coefficients are 5, 5 and 1, with the squared error.

    Args:
        invariance: coefficient of the distance.
        variance: coefficient of the hinge on the deviation of each feature.
        covariance: coefficient of the penalty on the covariances of different features.
        cosine: whether the distance is mean_i (1 - cos(a_i, b_i)), not the mean squared error.

    Raises:
        ValueError: `forward` or `regularisation` gets fewer than two clips.
    """

    def __init__(
        self, invariance: float, variance: float, covariance: float, cosine: bool = False
    ) -> None:
        super().__init__()
        self.invariance = invariance
        self.variance = variance
        self.covariance = covariance
        self.distance = _cosine_distance if cosine else _squared_error

    def forward(self, a_ND: Tensor, b_ND: Tensor) -> Tensor:
        """Return invariance * distance(a, b), []."""
        check_pair(a_ND, b_ND)
        return self.invariance * self.distance(a_ND, b_ND)

    def regularisation(self, z_ND: Tensor) -> Tensor:
        """Return the regularisation [] of one projected tensor.

        It is variance * mean_d relu(1 - sqrt(var_d + 1e-4)) + covariance * sum_(d != e) cov_de^2
        / D, with unbiased variances and covariances.
        """
        check_pair(z_ND, z_ND)
        return self.variance * variance_hinge(z_ND) + self.covariance * covariance_penalty(z_ND)


def build_alignment(
    *, loss: str, temperature: float, invariance: float, variance: float, covariance: float
) -> InfoNCE | VarianceCovariance:
    """Build the alignment that `objective.alignment` names.

    Args:
        loss: "infonce"; or with regularisation "variance_covariance" (squared errors) or "cosine".
        temperature: of "infonce", see `InfoNCE`.
        invariance: of the other two, see `VarianceCovariance`, as the two that follow.
        variance: see `invariance`.
        covariance: see `invariance`.

    Raises:
        ValueError: The name is unknown, or the temperature is not positive.
    """
    require_choice("alignment loss", loss, ALIGNMENT_LOSSES)
    if loss == "infonce":
        return InfoNCE(temperature)
    return VarianceCovariance(invariance, variance, covariance, cosine=loss == "cosine")


def check_pair(a: Tensor, b: Tensor) -> None:
    """Raise ValueError unless both tensors are [N, D] of at least two clips."""
    if a.ndim != 2 or a.shape != b.shape:
        raise ValueError(
            f"features to align must both be [N, D], got {list(a.shape)} and {list(b.shape)}"
        )
    if len(a) < 2:
        raise ValueError("the loss compares clips with each other: a batch needs at least two")


@full_precision
def _infonce(a_ND: Tensor, b_ND: Tensor, temperature: float, targets: Targets) -> Tensor:
    logits_NN = F.normalize(a_ND, dim=1) @ F.normalize(b_ND, dim=1).T / temperature
    if targets.answers is not None:
        b_from_a = soft_cross_entropy(logits_NN, targets.answers, targets.twins)
        a_from_b = soft_cross_entropy(logits_NN.T, targets.answers, targets.twins)
        return (b_from_a + a_from_b) / 2
    if targets.twins is not None:
        # Two clips of one performance are twins in both directions.
        logits_NN = logits_NN.masked_fill(targets.twins, -math.inf)
    # The right answer for row i is column i.
    own_N = torch.arange(len(logits_NN), device=logits_NN.device)
    return (F.cross_entropy(logits_NN, own_N) + F.cross_entropy(logits_NN.T, own_N)) / 2


@full_precision
def _squared_error(a_ND: Tensor, b_ND: Tensor) -> Tensor:
    return F.mse_loss(a_ND, b_ND)


@full_precision
def _cosine_distance(a_ND: Tensor, b_ND: Tensor) -> Tensor:
    return 1 - (F.normalize(a_ND, dim=1) * F.normalize(b_ND, dim=1)).sum(1).mean()


@full_precision
def variance_hinge(z_ND: Tensor) -> Tensor:
    """Return mean_d relu(1 - sqrt(var_d + 1e-4)), []."""
    return F.relu(1 - (z_ND.var(0) + _VARIANCE_FLOOR).sqrt()).mean()


@full_precision
def covariance_penalty(z_ND: Tensor) -> Tensor:
    """Return sum_(d != e) cov_de^2 / D, [].

    The squares of Z^T Z [D, D] and of Z Z^T [N, N] have the same sum, so the smaller of the two
    matrices is enough. If D is much larger than N, the diagonal that is subtracted is a small part
    of the sum, so nothing is lost to rounding.
    """
    count = z_ND.shape[0]
    width = z_ND.shape[1]
    z_ND = z_ND - z_ND.mean(0)
    product = z_ND @ z_ND.T if count < width else z_ND.T @ z_ND
    # The diagonal of Z^T Z holds the variances, which this does not penalise.
    diagonal_D = z_ND.square().sum(0)
    off_diagonal = product.square().sum() - diagonal_D.square().sum()
    return off_diagonal / ((count - 1) ** 2 * width)
