"""The statistics of the random start's feature norm.

With `model.feature_norm=batch` a feature is normalised by running statistics that training
collects. The norm of the random start has seen no batch. Its features keep the large mean that all
of them share, and nearest neighbours by cosine see little beside it. So the random start gets the
statistics of the training side, and what training adds to its row is not just the norm's work.
"""

from dataclasses import dataclass
from typing import Self, cast

import numpy as np
import torch

from models.backbone import FUSED, Backbone
from models.batchnorm import GlobalBatchNorm1d

# What `nn.BatchNorm1d` adds to a variance.
EPSILON = 1e-5


def forget_statistics(backbone: Backbone) -> None:
    """Set every feature norm to what it was before its first batch: mean 0, variance 1."""
    for norm in backbone.feature_norm.values():
        cast(GlobalBatchNorm1d, norm).reset_running_stats()


@dataclass(frozen=True)
class NormStatistics:
    """Statistics of features as a norm gives them that has seen no batch.

    Attributes:
        mean: [D].
        variance: [D], biased.
    """

    mean: np.ndarray
    variance: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> Self:
        """Measure features [N, D]."""
        return cls(features.mean(0), features.var(0))

    def normalised(self, features: np.ndarray) -> np.ndarray:
        """Return features [N, D] as a norm that knows these statistics gives them."""
        return (features - self.mean) / np.sqrt(self.variance + EPSILON)

    def write_into(self, backbone: Backbone) -> None:
        """Give the statistics to a backbone, whose features are then what `normalised` returns.

        They were measured behind a norm that had seen no batch, and such a norm is not quite the
        identity. For a feature x in front of the norm:

            a norm that has seen no batch gives  f = x / sqrt(1 + eps)
            `normalised` returns                 (f - mean) / sqrt(variance + eps)
            a norm with statistics gives         (x - running_mean) / sqrt(running_var + eps)

        The last two are equal for running_mean = mean * sqrt(1 + eps) and
        running_var = variance * (1 + eps) + eps * eps.
        """
        scale = 1 + EPSILON
        statistics = {
            "running_mean": torch.from_numpy(self.mean) * scale**0.5,
            "running_var": torch.from_numpy(self.variance) * scale + EPSILON**2,
            # The training side counts as one batch.
            "num_batches_tracked": torch.tensor(1),
        }
        # The norm that `Backbone.features` goes through; the others belong to single modalities.
        backbone.feature_norm[FUSED].load_state_dict(statistics)
