"""Schedules as functions of the update number: nothing to save or to restore."""

import math

from pipeline.config.train import Average, Schedule


def factor(schedule: Schedule, update: int, updates_per_epoch: int, epochs: int) -> float:
    """The factor of the base learning rate at an update.

    The rate first rises linearly over `warmup_steps` updates. Then `cosine` lowers it to 0 at the
    last update (Loshchilov and Hutter, 2017), and `step` multiplies it by `gamma` at the start of
    each epoch in `milestones`.

    Args:
        schedule: the configured schedule.
        update: the update, from 0.
        updates_per_epoch: updates in an epoch.
        epochs: epochs of the whole training.
    """
    if update < schedule.warmup_steps:
        return (update + 1) / schedule.warmup_steps
    if schedule.name == "step":
        epoch = update // updates_per_epoch
        passed = sum(epoch >= milestone for milestone in schedule.milestones)
        return schedule.gamma**passed
    updates_after_warmup = updates_per_epoch * epochs - schedule.warmup_steps
    progress = math.pi * (update - schedule.warmup_steps) / max(1, updates_after_warmup)
    return 0.5 * (1 + math.cos(progress))


def average_decay(average: Average, update: int, updates: int) -> float | None:
    """The share of the average of the weights that stays at an update; None without an average.

    The average begins as the initial weights, which a training of a hundred updates would not
    forget at a decay of 0.99. So the decay is at most (1 + update) / (10 + update), as in
    TensorFlow's ExponentialMovingAverage: 0.1 at first, 0.5 after 8 updates, 0.92 after 100.

    With `rise` it goes on from `decay` to 1 along half a cosine (BYOL, Grill et al., 2020).

    Args:
        average: the configured average.
        update: the update, from 0.
        updates: of the whole training.
    """
    if average.decay is None:
        return None
    decay = average.decay
    if average.rise:
        left = 0.5 * (1 + math.cos(math.pi * update / updates))
        decay = 1 - (1 - average.decay) * left
    return min(decay, (1 + update) / (10 + update))
