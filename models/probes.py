"""How good frozen features are: a linear classifier trained on them, and retrieval of the nearest training clips.

Both take plain tensors (features [N, D] and labels [N] of the training and of the test side), run on the device that
the features are on, and are functions of their arguments and the seed alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

OPTIMISERS = ("adamw", "sgd")
WHOLE = (slice(None),)


@dataclass(frozen=True)
class LinearProbe:
    """Recipe of a linear evaluation. A linear figure means nothing without the name of its recipe.

    standardise: features to zero mean and unit deviation per dimension, both measured on the training side.
    lr: learning rate, constant but for a factor `gamma` at the start of each epoch in `milestones`.
    momentum: of sgd; adamw has none.
    The weights start from N(0, 0.01) and the bias from zero, as in UmURL and MoCo. Raises ValueError for values that
    make no recipe.
    """

    standardise: bool
    optimiser: str
    lr: float
    weight_decay: float
    batch_size: int
    epochs: int
    momentum: float = 0.0
    milestones: Sequence[int] = ()
    gamma: float = 0.1

    def __post_init__(self) -> None:
        if self.optimiser not in OPTIMISERS:
            raise ValueError(
                f"probe optimiser {self.optimiser!r} is not one of {', '.join(OPTIMISERS)}"
            )
        if self.batch_size < 1 or self.epochs < 1 or self.lr <= 0:
            raise ValueError("probe batch_size and epochs must be at least 1 and lr above 0")
        if self.momentum and self.optimiser != "sgd":
            raise ValueError(f"probe momentum={self.momentum} belongs to optimiser 'sgd'")


@dataclass(frozen=True)
class LinearResult:
    """The last epoch is the result; the best epoch is a choice made on the test side, so it is only named beside it."""

    logits: Tensor  # float32 [N_test, classes] after the last epoch, on the CPU; of several parts log scores
    classes: Tensor  # int64 [classes], the label of each column, ascending
    predictions: Tensor  # int64 [N_test] labels
    accuracy: float  # fraction of the test side, last epoch
    test_accuracy: list[float]  # after every epoch
    train_loss: list[float]  # mean cross-entropy over every epoch's steps, and over the parts

    @property
    def best(self) -> float:
        return max(self.test_accuracy)


@dataclass(frozen=True)
class RetrievalResult:
    predictions: Tensor  # int64 [N_test] labels
    accuracy: float


def linear_evaluation(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    probe: LinearProbe,
    seed: int,
    parts: Sequence[slice] = WHOLE,
) -> LinearResult:
    """Train one linear layer with cross-entropy on the training side and measure it on the test side.

    parts: columns of the features that come from networks of their own (late fusion). Each part has a linear layer of
        its own, trained as it would be alone, and the mean of their softmax scores decides, as the field fuses late.
    The classes are the labels that occur on the training side. Raises ValueError for an empty side, unlabelled clips
    (negative labels), a test label that never occurs in training, and features or a loss that are not finite.
    """
    classes, train_targets, test_targets = _targets(
        train_features, train_labels, test_features, test_labels
    )
    device = train_features.device
    if probe.standardise:
        train_features, test_features = standardise(train_features, test_features)

    # On the CPU, so that every device sees the same draws; each layer starts and each epoch runs as with one part.
    generators = [torch.Generator().manual_seed(seed) for _ in parts]
    layers = nn.ModuleList(
        _layer(train_features[:1, part].shape[1], len(classes), generator)
        for part, generator in zip(parts, generators, strict=True)
    ).to(device)
    optimiser = _optimiser(layers, probe)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, probe.milestones, probe.gamma)

    test_accuracy, train_loss = [], []
    for _ in range(probe.epochs):
        order = torch.randperm(len(train_targets), generator=generators[0]).to(device)
        total = torch.zeros((), device=device)
        batches = order.split(probe.batch_size)
        for batch in batches:
            x, targets = train_features[batch], train_targets[batch]
            # The sum: no layer's gradient depends on how many there are.
            loss = sum(
                F.cross_entropy(layer(x[:, part]), targets)
                for layer, part in zip(layers, parts, strict=True)
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.detach()
        schedule.step()
        with torch.no_grad():
            logits = _fused(
                [layer(test_features[:, part]) for layer, part in zip(layers, parts, strict=True)]
            )
        test_accuracy.append(_accuracy(logits.argmax(1), test_targets))
        train_loss.append(total.item() / len(batches) / len(parts))
    if not torch.isfinite(logits).all():
        raise ValueError(
            f"the linear probe diverged at lr={probe.lr}: lower it or standardise the features"
        )
    predictions = classes[logits.argmax(1)].cpu()
    return LinearResult(
        logits.cpu(), classes.cpu(), predictions, test_accuracy[-1], test_accuracy, train_loss
    )


def retrieval(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    neighbours: int = 1,
    chunk_elements: int = 1 << 25,
    parts: Sequence[slice] = WHOLE,
) -> RetrievalResult:
    """k-nearest-neighbour retrieval by cosine similarity, the training side as gallery.

    parts: see `linear_evaluation`; the similarity is the mean of theirs, which is that of the concatenation of the
        parts, each of length 1.
    Every one of the `neighbours` has one vote; a tie goes to the tied class that has the nearest neighbour.
    Similarities are computed `chunk_elements` at a time (float32, 128 MB), so memory does not grow with their number.
    Raises ValueError as `linear_evaluation`, and for a number of neighbours that the gallery does not have.
    """
    classes, train_targets, test_targets = _targets(
        train_features, train_labels, test_features, test_labels
    )
    if not 1 <= neighbours <= len(train_targets):
        raise ValueError(
            f"retrieval asks for {neighbours} neighbours of a gallery of {len(train_targets)} clips"
        )
    if len(parts) > 1:
        train_features, test_features = (
            torch.cat([F.normalize(features[:, part], dim=1) for part in parts], dim=1)
            for features in (train_features, test_features)
        )
    gallery = F.normalize(train_features, dim=1).T
    votes = [
        _vote(F.normalize(queries, dim=1) @ gallery, train_targets, neighbours, len(classes))
        for queries in test_features.split(max(1, chunk_elements // len(train_targets)))
    ]
    found = torch.cat(votes)
    return RetrievalResult(classes[found].cpu(), _accuracy(found, test_targets))


def standardise(train_features: Tensor, test_features: Tensor) -> tuple[Tensor, Tensor]:
    """Both sides [N, D] shifted and scaled by the training side's mean and deviation; constant dimensions give zero."""
    deviation, mean = torch.std_mean(train_features, dim=0, correction=0)
    # Rounding leaves a constant column a deviation of about 1e-7 of its mean: dividing by that would blow up noise.
    constant = deviation <= 1e-6 * mean.abs()
    scale = torch.where(constant, 0.0, 1.0 / deviation.clamp_min(torch.finfo(deviation.dtype).tiny))
    return (train_features - mean) * scale, (test_features - mean) * scale


def _vote(similarity: Tensor, targets: Tensor, neighbours: int, classes: int) -> Tensor:
    """Winning class index [n] from similarities [n, N_train]."""
    if neighbours == 1:
        return targets[
            similarity.argmax(1)
        ]  # of equally near clips the first, which topk does not promise
    near = targets[similarity.topk(neighbours, dim=1).indices]
    votes = F.one_hot(near, classes).sum(1)
    # argmax returns the first maximum: of the neighbours in order of nearness, the first of a class with most votes.
    winner = votes.gather(1, near).argmax(1, keepdim=True)
    return near.gather(1, winner).squeeze(1)


def class_targets(train_labels: Tensor, test_labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The classes [C] (the labels of the training side, ascending) and both sides' labels as indices into them.

    Raises ValueError for an empty side, unlabelled clips (negative labels), and a test label that training never has.
    """
    for side, labels in (("training", train_labels), ("test", test_labels)):
        if len(labels) == 0:
            raise ValueError(f"the {side} side has no clips")
        if (labels < 0).any():
            raise ValueError(f"{int((labels < 0).sum())} clips of the {side} side have no label")
    classes, train_targets = torch.unique(train_labels, return_inverse=True)
    test_targets = torch.searchsorted(classes, test_labels).clamp_max(len(classes) - 1)
    unseen = classes[test_targets] != test_labels
    if unseen.any():
        missing = ", ".join(str(label) for label in test_labels[unseen].unique().tolist())
        raise ValueError(
            f"test clips carry labels that never occur on the training side: {missing}"
        )
    return classes, train_targets, test_targets


def _targets(
    train_features: Tensor, train_labels: Tensor, test_features: Tensor, test_labels: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """`class_targets`, with a check of the features beside them."""
    for side, features, labels in (
        ("training", train_features, train_labels),
        ("test", test_features, test_labels),
    ):
        if features.dim() != 2 or labels.shape != features.shape[:1]:
            raise ValueError(
                f"the {side} side needs features [N, D] and labels [N], "
                f"got {list(features.shape)} and {list(labels.shape)}"
            )
        if not torch.isfinite(features).all():
            raise ValueError(f"features of the {side} side are not finite")
    return class_targets(train_labels, test_labels)


def _accuracy(found: Tensor, targets: Tensor) -> float:
    return (found == targets).sum().item() / len(targets)


def _layer(inputs: int, classes: int, generator: torch.Generator) -> nn.Linear:
    layer = nn.utils.skip_init(nn.Linear, inputs, classes)  # leaves the global generator alone
    with torch.no_grad():
        layer.weight.normal_(0, 0.01, generator=generator)
        layer.bias.zero_()
    return layer


def _fused(logits: Sequence[Tensor]) -> Tensor:
    """Logits of one part as they are; of several the logarithm of the mean of their softmax scores."""
    if len(logits) == 1:
        return logits[0]
    return torch.stack(logits).log_softmax(-1).logsumexp(0) - math.log(len(logits))


def _optimiser(layer: nn.Module, probe: LinearProbe) -> torch.optim.Optimizer:
    if probe.optimiser == "adamw":
        return torch.optim.AdamW(
            layer.parameters(), probe.lr, weight_decay=probe.weight_decay, fused=True
        )
    return torch.optim.SGD(
        layer.parameters(), probe.lr, probe.momentum, weight_decay=probe.weight_decay, fused=True
    )
