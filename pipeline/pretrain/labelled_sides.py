"""The accuracies of an encoder while it trains: a gallery of labelled clips, and queries."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.probes import LinearProbe, linear_evaluation
from models.retrieval import retrieval
from pipeline.config.evaluate import Evaluate
from pipeline.pretrain.kept_clips import KeptClips
from pipeline.runs.metric_names import KNN, LINEAR, RETRIEVAL_MAP


@dataclass(frozen=True)
class LabelledSides:
    """Which of the kept clips are the gallery, which are the queries, and the labels of both.

    Attributes:
        gallery: int64 [N_gallery], where they stand among the kept clips.
        gallery_labels: int64 [N_gallery].
        queries: int64 [N_queries], where they stand among the kept clips.
        query_labels: int64 [N_queries], all of them among the gallery's.
    """

    gallery: Tensor
    gallery_labels: Tensor
    queries: Tensor
    query_labels: Tensor

    @classmethod
    def of(
        cls, clips: KeptClips, labels: np.ndarray, gallery: np.ndarray, queries: np.ndarray
    ) -> "LabelledSides":
        """Find both sides among the kept clips.

        Args:
            clips: the clips that are measured.
            labels: int64, of the whole store.
            gallery: ids of the gallery.
            queries: ids of the queries.
        """
        return cls(
            gallery=clips.rows(gallery),
            gallery_labels=torch.from_numpy(labels[gallery]),
            queries=clips.rows(queries),
            query_labels=torch.from_numpy(labels[queries]),
        )

    def accuracies(
        self, features: Tensor, parts: Sequence[slice], settings: Evaluate, seed: int
    ) -> dict[str, float]:
        """Measure features by the linear probe and by nearest neighbours, as `evaluate` does.

        Args:
            features: [N, D], of all kept clips, on the device that measures them.
            parts: the columns of each network, see `Backbone.parts`.
            settings: how features are measured.
            seed: of the linear probe.

        Returns:
            Name of each figure -> a fraction of the queries, or the mean of their precisions.

        Raises:
            ValueError: features or losses of the probe are not finite.
        """
        device = features.device
        sides = (
            features[self.gallery.to(device)],
            self.gallery_labels.to(device),
            features[self.queries.to(device)],
            self.query_labels.to(device),
        )
        # A gallery of few clips has fewer than so many neighbours.
        neighbours = min(settings.knn.k, len(self.gallery))
        probe = LinearProbe(**settings.linear.model_dump())
        knn = retrieval(*sides, neighbours, parts=parts)
        linear = linear_evaluation(*sides, probe, seed, parts=parts)
        return {
            KNN: knn.accuracy,
            LINEAR: linear.accuracy,
            RETRIEVAL_MAP: knn.mean_average_precision,
        }
