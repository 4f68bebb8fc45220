"""What a training loop works with, small and without Ray: batches, one weight, a listener."""

import torch
from torch import nn

from models.clips import ClipBatch
from pipeline.config.train import Average, Schedule
from pipeline.pretrain.agreement import never
from pipeline.pretrain.loop import LoopSettings, TrainingLoop

CONSTANT = Schedule(name="step", warmup_steps=0, milestones=[], gamma=0.1)
NO_AVERAGE = Average(decay=None, rise=False, export=True)


class Batches:
    """A stream of random clips that depend on (epoch, step) alone."""

    def __init__(self, steps, clips=4, persons=1, joints=2):
        self.steps_per_epoch = steps
        self.clips = clips
        self.shape = (persons, joints, 3)
        self.taken = []

    def batch_clips(self, step):
        return self.clips

    def epoch(self, epoch, start_step=0):
        for step in range(start_step, self.steps_per_epoch):
            self.taken.append((epoch, step))
            yield step, self.batch(epoch, step)

    def batch(self, epoch, step):
        generator = torch.Generator().manual_seed(1000 * epoch + step)
        lengths = torch.randint(6, 12, (self.clips,), generator=generator)
        frames = torch.randn(int(lengths.sum()), *self.shape, generator=generator)
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
        ids = torch.arange(self.clips) + 100 * step
        return ClipBatch(frames, offsets, ids, torch.full((self.clips,), -1))


class OneWeight(nn.Module):
    """A module whose loss is its weight times a number, so that its gradients are plain to see.

    slope(epoch, call): that number, of the call counted from 0.
    """

    def __init__(self, slope=lambda epoch, call: 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.slope = slope
        self.watched = []

    def forward(self, clips, seed, epoch, watch=False):
        slope = self.slope(epoch, len(self.watched))
        self.watched.append(watch)
        losses = {"loss": self.weight * slope + 1, "loss/half": self.weight * slope / 2}
        if watch:
            losses["collapse/deviation"] = torch.tensor(0.5)
        return losses


class Ears:
    """A listener that remembers."""

    def __init__(self):
        self.heard, self.rows, self.checkpoints = [], [], {}

    def row(self, row):
        self.heard.append(("row", row["step"]))
        self.rows.append(row)

    def checkpoint(self, position, state):
        self.heard.append(("checkpoint", position.updates))
        copied = {name: value.clone() for name, value in state["framework"].items()}
        self.checkpoints[position] = state | {"framework": copied}


def settings(**changes):
    values = {
        "seed": 0,
        "has_dropout": False,
        "epochs": 2,
        "accumulate": 1,
        "learning_rate": 0.5,
        "schedule": CONSTANT,
        "average": NO_AVERAGE,
        "clip_norm": None,
        "bfloat16": False,
        "log_every": 1,
        "checkpoint_every_epochs": None,
        "checkpoint_every_steps": None,
    }
    return LoopSettings(**(values | changes))


def loop_of(module, ears, stop_asked=never, **changes):
    """A loop that follows the gradient as it is (sgd without momentum)."""
    optimiser = torch.optim.SGD(module.parameters(), lr=123.0)
    return TrainingLoop(
        module,
        optimiser,
        settings(**changes),
        ears,
        device=torch.device("cpu"),
        stop_asked=stop_asked,
    )
