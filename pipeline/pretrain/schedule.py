"""Learning-rate schedules as functions of the update number: nothing to save, nothing to restore."""

import math

from pipeline.config.schema import Schedule


def factor(schedule: Schedule, update: int, updates_an_epoch: int, epochs: int) -> float:
    """What the base learning rate is multiplied with at `update` (0-based).

    Linear warm-up over `warmup_steps`; then cosine to 0 at the last update, or `gamma` at each milestone (epochs).
    """
    if update < schedule.warmup_steps:
        return (update + 1) / schedule.warmup_steps
    if schedule.name == "step":
        return schedule.gamma ** sum(
            update // updates_an_epoch >= milestone for milestone in schedule.milestones
        )
    total = updates_an_epoch * epochs - schedule.warmup_steps
    return 0.5 * (1 + math.cos(math.pi * (update - schedule.warmup_steps) / max(1, total)))
