"""Retrieval with frozen features: the nearest training clips of a test clip, by cosine similarity.

One pass over the similarities tells three things of each test clip: which class its nearest
neighbours vote for, how early the clips of its own class come (average precision), and how many
clips of other classes come before all of them (recall at k).

Shapes: N clips of a side, n queries of a chunk, D features, C classes, K neighbours, R training
clips of one class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from models.probes import WHOLE, accuracy
from models.targets import ClassTargets, checked_targets


@dataclass(frozen=True)
class RetrievalResult:
    """The result of a retrieval. Each test clip is a query, and the training side the gallery.

    Args:
        predictions: int64 [N_test] labels.
        accuracy: fraction of the test side.
        average_precision: float64 [N_test], on the CPU. Of all training clips of the query's class
            the mean of (clips of this class that are at least as near) / (all clips that are).
        strangers: int64 [N_test], on the CPU: clips of other classes that are at least as near as
            the nearest clip of the query's class.
    """

    predictions: Tensor
    accuracy: float
    average_precision: Tensor
    strangers: Tensor

    @property
    def mean_average_precision(self) -> float:
        """The mean over all queries."""
        return self.average_precision.mean().item()

    def recall(self, k: int) -> float:
        """The share of the queries with a clip of their class among the k nearest clips.

        Of equally near clips those of other classes count first, so that a tie is no success.
        """
        return accuracy(self.strangers < k)


def retrieval(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    neighbours: int = 1,
    chunk_elements: int = 1 << 25,
    parts: Sequence[slice] = WHOLE,
) -> RetrievalResult:
    """Look for the clips of the training side that are near each test clip in cosine similarity.

    Every neighbour has one vote; a tie goes to the tied class that has the nearest neighbour.

    Args:
        train_features: [N_train, D].
        train_labels: int64 [N_train].
        test_features: [N_test, D].
        test_labels: int64 [N_test].
        neighbours: K.
        chunk_elements: how many similarities are computed at a time (float32, 128 MB), so that
            memory does not grow with their number. The counts take a few times as much.
        parts: see `linear_evaluation`; the similarity is the mean of theirs, which is that of the
            parts side by side, each of length 1.

    Raises:
        ValueError: See `linear_evaluation`; or the gallery has fewer clips than neighbours.
    """
    targets = checked_targets(train_features, train_labels, test_features, test_labels)
    if not 1 <= neighbours <= len(targets.train):
        raise ValueError(
            f"retrieval asks for {neighbours} neighbours of a gallery of {len(targets.train)} clips"
        )
    if len(parts) > 1:
        train_features = _of_unit_length(train_features, parts)
        test_features = _of_unit_length(test_features, parts)
    gallery = F.normalize(train_features, dim=1).T
    clips_of_class = _by_class(targets)
    chunk = max(1, chunk_elements // len(targets.train))
    chunks = []
    for queries, own in zip(test_features.split(chunk), targets.test.split(chunk), strict=True):
        similarity = F.normalize(queries, dim=1) @ gallery
        winners = _vote(similarity, targets.train, neighbours, len(targets.classes))
        chunks.append((winners, *_ranked(similarity, own, clips_of_class)))
    found, precision, strangers = map(torch.cat, zip(*chunks, strict=True))
    return RetrievalResult(
        predictions=targets.classes[found].cpu(),
        accuracy=accuracy(found == targets.test),
        average_precision=precision.cpu(),
        strangers=strangers.cpu(),
    )


def _of_unit_length(features: Tensor, parts: Sequence[slice]) -> Tensor:
    """The parts side by side, each of length 1."""
    normalised = []
    for part in parts:
        normalised.append(F.normalize(features[:, part], dim=1))
    return torch.cat(normalised, dim=1)


def _by_class(targets: ClassTargets) -> Sequence[Tensor]:
    """The training clips of each class: C times int64 [R], numbers of clips."""
    sizes = torch.bincount(targets.train, minlength=len(targets.classes))
    return targets.train.argsort().split(sizes.tolist())


def _vote(similarity: Tensor, targets: Tensor, neighbours: int, classes: int) -> Tensor:
    """The index of the class with most votes for each query, [n], from similarities [n, N_train].

    With K = 4 neighbours, nearest first, of the classes 2 0 0 2:

        votes of each class      2  0  2          (of the classes 0, 1, 2)
        votes by neighbour       2  2  2  2       their first maximum: the nearest neighbour
        winner                   class 2
    """
    if neighbours == 1:
        # Of equally near clips the first, which topk does not promise.
        return targets[similarity.argmax(1)]
    near_nK = targets[similarity.topk(neighbours, dim=1).indices]
    votes_nC = F.one_hot(near_nK, classes).sum(1)
    # argmax returns the first maximum: of the neighbours in order of nearness, the first of a class
    # with most votes.
    winner_n1 = votes_nC.gather(1, near_nK).argmax(1, keepdim=True)
    return near_nK.gather(1, winner_n1).squeeze(1)


def _ranked(
    similarity: Tensor, targets: Tensor, clips_of_class: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """How early the clips of a query's own class come.

    Args:
        similarity: [n, N_train].
        targets: int64 [n], the classes of the queries.
        clips_of_class: from `_by_class`.

    Returns:
        The average precision, float64 [n], and the strangers, int64 [n]: see `RetrievalResult`.
    """
    precision = similarity.new_empty(len(similarity), dtype=torch.float64)
    strangers = torch.empty_like(targets)
    # All queries of a class have equally many clips to find, so they fit into one tensor.
    for target in targets.unique().tolist():
        rows = (targets == target).nonzero().squeeze(1)
        own_nR, all_nR = _at_least_as_near(similarity[rows], clips_of_class[target])
        precision[rows] = (own_nR.double() / all_nR).mean(1)
        # The last one is the nearest.
        strangers[rows] = all_nR[:, -1] - own_nR[:, -1]
    return precision, strangers


def _at_least_as_near(similarity: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """Count for each clip of the own class the clips that are at least as near to the query.

        similarity        .9   .7   .7   .4
        class             own  own  else own
        own, sorted       .4   .7   .9           (R = 3)
        own, as near       3    2    1
        all, as near       4    3    1           average precision (3/4 + 2/3 + 1/1) / 3

    No clip is sorted but those of the own class: of the others it is only counted between which two
    of these they come.

    Args:
        similarity: [n, N_train], of queries of one class.
        own: int64 [R], the training clips of this class.

    Returns:
        Both counts, int64 [n, R]: of the own class, and of all classes. The nearest clip is last.
    """
    sorted_nR = similarity[:, own].sort(dim=1).values
    # Of each clip: as near as so many own ones, or nearer.
    passed_nN = torch.searchsorted(sorted_nR, similarity, right=True)
    passing = passed_nN.new_zeros(len(similarity), len(own) + 1)
    passing.scatter_add_(1, passed_nN, passed_nN.new_ones(()).expand_as(passed_nN))
    all_nR = passing[:, 1:].flip(1).cumsum(1).flip(1)
    own_nR = len(own) - torch.searchsorted(sorted_nR, sorted_nR)
    return own_nR, all_nR
