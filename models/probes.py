"""Measuring frozen features by a linear classifier that is trained on them.

It takes features [N, D] and labels [N] of the training side and of the test side, and runs on the
device of the features. The results depend on the arguments and the seed alone. Shapes: N clips of a
side, D features, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.choices import PROBE_OPTIMISERS
from models.targets import checked_targets

# The features of one network: all columns.
WHOLE = (slice(None),)
# Deviation of a linear layer's first weights, as in UmURL and MoCo.
_INITIAL_DEVIATION = 0.01
# Rounding leaves a constant column a deviation of about 1e-7 of its mean; below this share of the
# mean a deviation is noise, and a division by it would blow the noise up.
_LEAST_RELATIVE_DEVIATION = 1e-6


@dataclass(frozen=True)
class LinearProbe:
    """Recipe of a linear evaluation. A linear figure means nothing without the name of its recipe.

    The weights start from N(0, 0.01) and the bias from zero, as in UmURL and MoCo.

    Args:
        standardise: whether features get zero mean and unit deviation in each dimension, both
            measured on the training side.
        optimiser: "adamw" or "sgd".
        lr: learning rate, constant but for the milestones.
        weight_decay: of the optimiser.
        batch_size: clips of a step.
        epochs: passes over the training side.
        momentum: of sgd; adamw has none.
        milestones: epochs at whose start the learning rate is multiplied by `gamma`.
        gamma: see `milestones`.

    Raises:
        ValueError: The values make no recipe.
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
        if self.optimiser not in PROBE_OPTIMISERS:
            raise ValueError(
                f"probe optimiser {self.optimiser!r} is not one of {', '.join(PROBE_OPTIMISERS)}"
            )
        if self.batch_size < 1 or self.epochs < 1 or self.lr <= 0:
            raise ValueError("probe batch_size and epochs must be at least 1 and lr above 0")
        if self.momentum and self.optimiser != "sgd":
            raise ValueError(f"probe momentum={self.momentum} belongs to optimiser 'sgd'")


@dataclass(frozen=True)
class LinearResult:
    """The result of a linear evaluation.

    The last epoch counts. The best epoch is chosen on the test side, so it is only reported beside
    the result.

    Args:
        logits: float32 [N_test, C] after the last epoch, on the CPU; of several parts log scores.
        classes: int64 [C], the label of each column, ascending.
        predictions: int64 [N_test] labels.
        accuracy: fraction of the test side, after the last epoch.
        test_accuracy: fraction of the test side, after every epoch.
        train_loss: mean cross-entropy over every epoch's steps, and over the parts.
    """

    logits: Tensor
    classes: Tensor
    predictions: Tensor
    accuracy: float
    test_accuracy: list[float]
    train_loss: list[float]

    @property
    def best(self) -> float:
        """The highest test accuracy of any epoch."""
        return max(self.test_accuracy)


def linear_evaluation(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    probe: LinearProbe,
    seed: int,
    parts: Sequence[slice] = WHOLE,
) -> LinearResult:
    """Train one linear layer with cross-entropy on the training side, measure it on the test side.

    The classes are the labels that occur on the training side.

    Args:
        train_features: [N_train, D].
        train_labels: int64 [N_train].
        test_features: [N_test, D].
        test_labels: int64 [N_test].
        probe: the recipe.
        seed: of the first weights and of the order of the clips.
        parts: columns of the features that come from networks of their own (late fusion). Each part
            has a linear layer of its own, trained as it would be alone, and the mean of their
            softmax scores decides, as the field fuses late.

    Raises:
        ValueError: A side is empty, clips have no label (a negative one), a test label never occurs
            in training, or features or a loss are not finite.
    """
    targets = checked_targets(train_features, train_labels, test_features, test_labels)
    if probe.standardise:
        train_features, test_features = standardise(train_features, test_features)

    # On the CPU, so that every device sees the same draws. A generator for each part, so that each
    # layer starts, and each epoch runs, as with this part alone.
    generators = [torch.Generator().manual_seed(seed) for _ in parts]
    probes = _PartProbes(train_features, parts, len(targets.classes), generators)
    train = _Side(train_features, targets.train)
    test = _Side(test_features, targets.test)
    logits, curves = _train(probes, probe, generators[0], train, test)
    return LinearResult(
        logits=logits.cpu(),
        classes=targets.classes.cpu(),
        predictions=targets.classes[logits.argmax(1)].cpu(),
        accuracy=curves.test_accuracy[-1],
        test_accuracy=curves.test_accuracy,
        train_loss=curves.train_loss,
    )


@dataclass(frozen=True)
class _Side:
    """One side of the protocol: features [N, D] and class indices [N]."""

    features: Tensor
    targets: Tensor


@dataclass
class _Curves:
    """One number for each epoch: the accuracy on the test side, and the mean training loss."""

    test_accuracy: list[float] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)


class _PartProbes(nn.Module):
    """A linear layer for each part of the features."""

    def __init__(
        self,
        features: Tensor,
        parts: Sequence[slice],
        classes: int,
        generators: Sequence[torch.Generator],
    ) -> None:
        super().__init__()
        self.parts = parts
        self.layers = nn.ModuleList()
        for part, generator in zip(parts, generators, strict=True):
            width = features[:1, part].shape[1]
            self.layers.append(_layer(width, classes, generator))
        self.to(features.device)

    def forward(self, features: Tensor) -> list[Tensor]:
        """Logits [n, C] of each part."""
        logits = []
        for layer, part in zip(self.layers, self.parts, strict=True):
            logits.append(layer(features[:, part]))
        return logits

    def loss(self, features: Tensor, targets: Tensor) -> Tensor:
        """The sum of the losses of all parts.

        With the mean, the gradient of a layer would depend on the number of parts.
        """
        logits = self(features)
        total = F.cross_entropy(logits[0], targets)
        for part_logits in logits[1:]:
            total = total + F.cross_entropy(part_logits, targets)
        return total

    @torch.no_grad()
    def scores(self, features: Tensor) -> Tensor:
        """The scores of the classes, [n, C].

        These are the logits of a single part, or the log of the mean softmax of several parts.
        """
        logits = self(features)
        if len(logits) == 1:
            return logits[0]
        return torch.stack(logits).log_softmax(-1).logsumexp(0) - math.log(len(logits))


def _layer(inputs: int, classes: int, generator: torch.Generator) -> nn.Linear:
    # skip_init leaves the global generator alone.
    layer = nn.utils.skip_init(nn.Linear, inputs, classes)
    with torch.no_grad():
        layer.weight.normal_(0, _INITIAL_DEVIATION, generator=generator)
        layer.bias.zero_()
    return layer


def _optimiser(module: nn.Module, probe: LinearProbe) -> torch.optim.Optimizer:
    parameters = module.parameters()
    if probe.optimiser == "adamw":
        return torch.optim.AdamW(parameters, probe.lr, weight_decay=probe.weight_decay, fused=True)
    return torch.optim.SGD(
        parameters, probe.lr, probe.momentum, weight_decay=probe.weight_decay, fused=True
    )


def _train(
    probes: _PartProbes,
    probe: LinearProbe,
    generator: torch.Generator,
    train: _Side,
    test: _Side,
) -> tuple[Tensor, _Curves]:
    """Train for all epochs; returns the last scores of the test side, and the curves."""
    optimiser = _optimiser(probes, probe)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, probe.milestones, probe.gamma)
    curves = _Curves()
    for _ in range(probe.epochs):
        order = torch.randperm(len(train.targets), generator=generator)
        batches = order.to(train.features.device).split(probe.batch_size)
        total = _train_epoch(probes, optimiser, train, batches)
        schedule.step()
        logits = probes.scores(test.features)
        curves.test_accuracy.append(accuracy(logits.argmax(1) == test.targets))
        curves.train_loss.append(total.item() / len(batches) / len(probes.parts))
    if not torch.isfinite(logits).all():
        raise ValueError(
            f"the linear probe diverged at lr={probe.lr}: lower it or standardise the features"
        )
    return logits, curves


def _train_epoch(
    probes: _PartProbes,
    optimiser: torch.optim.Optimizer,
    train: _Side,
    batches: Sequence[Tensor],
) -> Tensor:
    """Train on all batches of clip numbers; returns the sum of their losses, [].

    The sum stays on the device, so that no step waits for it.
    """
    total = torch.zeros((), device=train.features.device)
    for batch in batches:
        loss = probes.loss(train.features[batch], train.targets[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        total += loss.detach()
    return total


def standardise(train_features: Tensor, test_features: Tensor) -> tuple[Tensor, Tensor]:
    """Shift and scale both sides [N, D] by the training side's mean and deviation.

    Constant dimensions become zero.
    """
    deviation, mean = torch.std_mean(train_features, dim=0, correction=0)
    constant = deviation <= _LEAST_RELATIVE_DEVIATION * mean.abs()
    tiny = torch.finfo(deviation.dtype).tiny
    scale = torch.where(constant, 0.0, 1.0 / deviation.clamp_min(tiny))
    return (train_features - mean) * scale, (test_features - mean) * scale


def accuracy(hits: Tensor) -> float:
    """The share of the clips that are hits, bool [N]."""
    return hits.sum().item() / len(hits)
