"""What one training worker does: batches from its stream, steps of the framework, checkpoints of everything."""

import tempfile
import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray.train
import ray.train.torch
import torch
from ray.util.queue import Queue
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.config.schema import Config
from pipeline.core import storage
from pipeline.encoder.build import build_framework
from pipeline.pretrain import checkpoint
from pipeline.pretrain.checkpoint import Position
from pipeline.pretrain.schedule import factor
from pipeline.stream.plan import StreamPlan

OPTIMISERS = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": lambda parameters, **settings: torch.optim.SGD(parameters, momentum=0.9, **settings),
}


@dataclass(frozen=True)
class Job:
    """What the driver hands every worker.

    channel: to the driver; rank 0 puts {"metrics": row}, {"checkpoint": position} when one is written, and
        {"failed": message} where training cannot go on.
    place: where checkpoints go, a directory an attempt.
    resume: checkpoint of an earlier attempt to go on from, or None.
    """

    config: Config
    plan: StreamPlan
    channel: Queue
    place: str
    resume: str | None


def train(job: Job) -> None:
    """The training function of Ray Train: runs on every worker, from the newest checkpoint to the last epoch."""
    config, context = job.config, ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    torch.set_num_threads(config.cluster.threads)
    device = ray.train.torch.get_device()
    framework = build_framework(config).to(device)
    model = DistributedDataParallel(framework, broadcast_buffers=False) if world > 1 else framework
    settings = config.train.optimiser
    optimiser = OPTIMISERS[settings.name](
        framework.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
    )
    with job.plan.worker(rank, world, device) as stream:
        trainer = Trainer(job, rank, device, framework, model, optimiser)
        trainer.run(stream, trainer.restore(_newest(job), stream))


def _newest(job: Job) -> str | None:
    """A checkpoint of this attempt (after a worker failed) before that of an earlier one."""
    latest = ray.train.get_checkpoint()
    # Ray gives a path in the file system of the storage; its last two parts are the attempt and the checkpoint.
    return storage.join(job.place, *latest.path.split("/")[-2:]) if latest else job.resume


class Trainer:
    """The loop of one worker. All workers compute the same losses; rank 0 speaks for them."""

    def __init__(
        self,
        job: Job,
        rank: int,
        device: torch.device,
        framework: nn.Module,
        model: nn.Module,
        optimiser,
    ):
        self.job, self.rank, self.device = job, rank, device
        self.config, self.train = job.config, job.config.train
        self.framework, self.model, self.optimiser = framework, model, optimiser
        self.history: list[dict[str, float]] = []
        self.autocast = torch.autocast(
            device.type, torch.bfloat16, enabled=self.train.precision == "bfloat16"
        )

    def restore(self, uri: str | None, stream) -> Position:
        """Load the checkpoint, if any, into a model whose gradient buckets are settled; returns where to go on."""
        initial = {key: value.clone() for key, value in self.framework.state_dict().items()}
        if self.model is not self.framework:
            # DDP orders its buckets anew after the first backward pass, and with three or more workers that changes
            # the order of sums. Two passes that count for nothing settle it: a resumed run sums like an unbroken one.
            _, clips = next(iter(stream.epoch(0)))
            for _ in range(2):
                self._losses(clips, epoch=0)["loss"].backward()
            self.optimiser.zero_grad(set_to_none=True)
        if uri is None:
            self.framework.load_state_dict(initial)
            return Position(0, 0, 0)
        position, state = checkpoint.load(uri)
        self.framework.load_state_dict(state["framework"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.history = state["history"]
        return position

    def run(self, stream, start: Position) -> None:
        """Train from `start` to the last epoch, reporting metrics and checkpoints on the way."""
        micro_batches = stream.steps_per_epoch
        updates_an_epoch = -(-micro_batches // self.train.accumulate)
        meter = Meter(self.device)
        updates = start.updates
        for epoch in range(start.epoch, self.train.epochs):
            first = start.step if epoch == start.epoch else 0
            for step, clips in stream.epoch(epoch, first):
                last_of_update = (
                    step + 1
                ) % self.train.accumulate == 0 or step + 1 == micro_batches
                share = min(
                    self.train.accumulate,
                    micro_batches - step // self.train.accumulate * self.train.accumulate,
                )
                position = Position(epoch, step + 1, updates + 1)
                if step + 1 == micro_batches:
                    position = Position(epoch + 1, 0, updates + 1)
                due = last_of_update and self._checkpoint_due(position)
                done = position.epoch == self.train.epochs
                row_due = last_of_update and (
                    position.updates % self.train.log_every == 0 or due or done
                )
                self._seed(epoch, step)
                losses = self._backward(clips, epoch, share, last_of_update, watch=row_due)
                meter.add(losses, updates, stream.batch_clips(step))
                if not last_of_update:
                    continue
                rate = self.train.optimiser.lr * factor(
                    self.train.schedule, updates, updates_an_epoch, self.train.epochs
                )
                norm = self._update(rate)
                updates = position.updates
                if row_due:
                    if (bad := meter.first_bad()) is not None:
                        return self._fail(
                            f"loss is not finite at step {bad}; lower train.optimiser.lr or set train.clip_norm"
                        )
                    self._log(
                        meter,
                        position,
                        epoch,
                        {"train/learning_rate": rate, "train/gradient_norm": float(norm)},
                    )
                if due or done:
                    self._checkpoint(position)

    def _seed(self, epoch: int, step: int) -> None:
        """Dropout, like the views, depends on where training stands: there is no random state to save or to lose."""
        if self.config.model.dropout:
            place = np.random.SeedSequence([self.config.seed, epoch, step, self.rank])
            torch.manual_seed(int(place.generate_state(1, np.uint64)[0] >> 1))

    def _losses(self, clips, epoch: int, watch: bool = False) -> dict[str, Tensor]:
        with self.autocast:
            return self.model(
                clips.to(self.device, non_blocking=True), self.config.seed, epoch, watch
            )

    def _backward(
        self, clips, epoch: int, share: int, synchronise: bool, watch: bool
    ) -> dict[str, Tensor]:
        later = (
            nullcontext() if synchronise or self.model is self.framework else self.model.no_sync()
        )
        with later:
            losses = self._losses(clips, epoch, watch)
            (losses["loss"] / share).backward()
        return losses

    def _update(self, rate: float) -> Tensor:
        largest = self.train.clip_norm or float("inf")
        norm = nn.utils.clip_grad_norm_(self.framework.parameters(), largest)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return norm

    def _checkpoint_due(self, position: Position) -> bool:
        policy = self.train.checkpoint
        epoch_end = position.step == 0
        by_epoch = epoch_end and policy.every_epochs and position.epoch % policy.every_epochs == 0
        return bool(by_epoch or (policy.every_steps and position.updates % policy.every_steps == 0))

    def _checkpoint(self, position: Position) -> None:
        metrics = vars(position)
        if self.rank != 0:
            return ray.train.report(metrics)
        state = {
            "framework": self.framework.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "config": self.config.model_dump(mode="json"),
            # What the driver had not yet written when it was killed is not lost either.
            "history": self.history,
            "threads": torch.get_num_threads(),
        }
        with tempfile.TemporaryDirectory() as directory:
            checkpoint.save(directory, position, state)
            ray.train.report(
                metrics,
                checkpoint=ray.train.Checkpoint.from_directory(directory),
                checkpoint_dir_name=checkpoint.directory(position.updates),
            )
        self.job.channel.put_nowait({"checkpoint": position})

    def _log(self, meter: "Meter", position: Position, epoch: int, extra: dict[str, float]) -> None:
        row = meter.row() | extra | {"step": position.updates, "epoch": epoch, "time": time.time()}
        self.history.append(row)
        if self.rank == 0:
            self.job.channel.put_nowait({"metrics": row})

    def _fail(self, message: str) -> None:
        # Returning, not raising: Ray Train would take an exception for a lost worker and try again.
        if self.rank == 0:
            self.job.channel.put_nowait({"failed": message})


class Meter:
    """Means of the losses since the last row, kept on the device: no step waits for a number.

    Other figures of a step, which come with the last one before a row, are taken as they are.
    """

    def __init__(self, device: torch.device):
        self.bad = torch.full((), -1, dtype=torch.int64, device=device)
        self._reset()

    def add(self, losses: dict[str, Tensor], update: int, clips: int) -> None:
        for name, value in losses.items():
            if name.startswith("loss"):
                self.sums[name] = self.sums.get(name, 0) + value.detach()
            else:
                self.figures[name] = value
        self.bad = torch.where(
            (self.bad < 0) & ~torch.isfinite(losses["loss"].detach()), update, self.bad
        )
        self.batches += 1
        self.clips += clips

    def first_bad(self) -> int | None:
        """The first update whose loss was not finite, None if there was none."""
        bad = int(self.bad)
        return bad if bad >= 0 else None

    def row(self) -> dict[str, Any]:
        seconds = time.perf_counter() - self.since
        row = {name: float(value) / self.batches for name, value in self.sums.items()}
        row |= {name: float(value) for name, value in self.figures.items()}
        row["train/clips_per_second"] = self.clips / max(seconds, 1e-9)
        self._reset()
        return row

    def _reset(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.figures: dict[str, Tensor] = {}
        self.batches = self.clips = 0
        self.since = time.perf_counter()
