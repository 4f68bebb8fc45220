"""The training loop in pure torch, for one process or one of several in DistributedDataParallel.

The loop knows neither Ray nor files. It takes batches from a stream, and a `Listener` receives the
rows of metrics and the checkpoints.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from models.clips import ClipBatch
from models.framework import Framework
from pipeline.config.root import Config
from pipeline.config.train import Average, Schedule
from pipeline.core.errors import UserError
from pipeline.pretrain.agreement import Agreement, never
from pipeline.pretrain.cadence import START, Cadence, MicroBatch, Position
from pipeline.pretrain.meter import Meter
from pipeline.pretrain.schedule import average_decay, factor
from pipeline.runs.metric_names import EPOCH, GRADIENT_NORM, LEARNING_RATE, LOSS, STEP, TIME

# Rows of metrics that a checkpoint carries: what a driver may have received and not yet written.
RECENT_ROWS = 1000


class BatchStream(Protocol):
    """Where batches come from; `pipeline.stream` has streams of this kind."""

    @property
    def steps_per_epoch(self) -> int:
        """Micro-batches of an epoch."""

    def batch_clips(self, step: int) -> int:
        """Clips of a micro-batch, over all workers."""

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[tuple[int, ClipBatch]]:
        """(step, this worker's share of the micro-batch) from `start_step` to the epoch's end."""


class Listener(Protocol):
    """Who receives what training gives while it goes on. An exception from it ends the loop."""

    def row(self, row: dict[str, Any]) -> None:
        """Receive a row of metrics: losses, figures, `step` (updates), `epoch` and `time`."""

    def checkpoint(self, position: Position, state: dict[str, Any]) -> None:
        """Receive a checkpoint. Its tensors are those that training goes on to change."""


class LossNotFiniteError(UserError):
    """A loss was infinite or not a number."""


@dataclass(frozen=True)
class LoopSettings:
    """What the loop takes from the configuration.

    Args:
        seed: of the views, and of dropout.
        has_dropout: whether the model draws random numbers of its own.
        epochs: epochs of the whole training.
        accumulate: micro-batches of an update.
        learning_rate: base learning rate, which `schedule` varies.
        schedule: the learning-rate schedule.
        average: of the encoder's weights.
        clip_norm: largest norm of the gradient, None for no limit.
        bfloat16: whether the forward pass runs in bfloat16 where torch's autocast allows it.
        log_every: updates from one row of metrics to the next.
        checkpoint_every_epochs: epochs from one checkpoint to the next, or None.
        checkpoint_every_steps: updates from one checkpoint to the next, or None.
    """

    seed: int
    has_dropout: bool
    epochs: int
    accumulate: int
    learning_rate: float
    schedule: Schedule
    average: Average
    clip_norm: float | None
    bfloat16: bool
    log_every: int
    checkpoint_every_epochs: int | None
    checkpoint_every_steps: int | None

    @classmethod
    def of(cls, config: Config) -> "LoopSettings":
        """The loop's settings of a run."""
        settings = config.train
        return cls(
            seed=config.seed,
            has_dropout=config.model.dropout > 0,
            epochs=settings.epochs,
            accumulate=settings.accumulate,
            learning_rate=settings.optimiser.lr,
            schedule=settings.schedule,
            average=settings.average,
            clip_norm=settings.clip_norm,
            bfloat16=settings.precision == "bfloat16",
            log_every=settings.log_every,
            checkpoint_every_epochs=settings.checkpoint.every_epochs,
            checkpoint_every_steps=settings.checkpoint.every_steps,
        )

    def cadence(self, micro_batches: int) -> Cadence:
        """The rhythm of a training whose epochs have so many micro-batches."""
        return Cadence(
            micro_batches=micro_batches,
            accumulate=self.accumulate,
            epochs=self.epochs,
            log_every=self.log_every,
            checkpoint_every_epochs=self.checkpoint_every_epochs,
            checkpoint_every_steps=self.checkpoint_every_steps,
        )


class TrainingLoop:
    """Trains a framework from any position to the last epoch.

    Under DistributedDataParallel every process runs a loop of its own; all compute the same losses
    (those of the global batch) and therefore make the same decisions.

    Args:
        model: the framework, or the framework within DistributedDataParallel. It is called as
            `models.framework.Framework.forward`.
        optimiser: of the framework's parameters.
        settings: see `LoopSettings`.
        listener: receives rows and checkpoints.
        device: where the model is.
        rank: number of this process among those that train together.
        stop_asked: whether this process was asked to stop. One of them is enough.
    """

    def __init__(
        self,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        settings: LoopSettings,
        listener: Listener,
        *,
        device: torch.device,
        rank: int = 0,
        stop_asked: Callable[[], bool] = never,
    ):
        self.model = model
        self.framework: nn.Module = model
        if isinstance(model, DistributedDataParallel):
            self.framework = model.module
        self.optimiser = optimiser
        self.settings = settings
        self.listener = listener
        self.device = device
        self.rank = rank
        self._stop = Agreement(stop_asked, device)
        self._meter = Meter(device)
        self._recent: deque[dict[str, Any]] = deque(maxlen=RECENT_ROWS)
        self._autocast = torch.autocast(device.type, torch.bfloat16, enabled=settings.bfloat16)

    def state(self) -> dict[str, Any]:
        """Everything that training needs to go on from here, besides the position."""
        return {
            "framework": self.framework.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "history": list(self._recent),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned, or a checkpoint of a version that kept all rows."""
        self.framework.load_state_dict(state["framework"])
        self.optimiser.load_state_dict(state["optimiser"])
        self._recent.clear()
        self._recent.extend(state["history"])
        # Only a checkpoint between two rows has it.
        if "meter" in state:
            self._meter.load_state(state["meter"])

    def settle_gradient_buckets(self, stream: BatchStream) -> None:
        """Make DistributedDataParallel order its buckets now; call before `load_state`.

        It orders them anew after its first backward pass. With three or more workers that changes
        the order of sums. After two passes that count for nothing a resumed run sums like an
        unbroken one.
        """
        # The passes change running statistics, so the weights and buffers are put back afterwards.
        initial = {key: value.clone() for key, value in self.framework.state_dict().items()}
        _, clips = next(iter(stream.epoch(0)))
        for _ in range(2):
            self._losses(clips, epoch=0)[LOSS].backward()
        self.optimiser.zero_grad(set_to_none=True)
        self.framework.load_state_dict(initial)

    def run(self, stream: BatchStream, start: Position = START) -> bool:
        """Train from `start` to the last epoch, or until somebody asks to stop.

        Args:
            stream: the batches.
            start: where training stands; `load_state` has brought the weights of this position.

        Returns:
            Whether training came to its end. Otherwise the listener got a checkpoint of the update
            at which it stopped.

        Raises:
            LossNotFiniteError: training cannot go on. It is noticed where a row of metrics is due,
                and no checkpoint is written after it.
        """
        cadence = self.settings.cadence(stream.steps_per_epoch)
        self._meter.start()
        for epoch in range(start.epoch, cadence.epochs):
            first_step = 0
            if epoch == start.epoch:
                first_step = start.step
            for step, clips in stream.epoch(epoch, first_step):
                micro_batch = cadence.micro_batch(epoch, step)
                losses = self._add_gradient(clips, micro_batch)
                self._meter.add(losses, micro_batch.update, stream.batch_clips(step))
                if not micro_batch.ends_update:
                    continue
                self._end_update(micro_batch, cadence)
                is_last = micro_batch.after.updates == cadence.updates
                if self._stop.reached() and not is_last:
                    self._checkpoint_between(micro_batch)
                    return False
        return True

    def _end_update(self, micro_batch: MicroBatch, cadence: Cadence) -> None:
        """Change the weights and their average, and hand the listener what is due."""
        rate = self._learning_rate(micro_batch.update, cadence)
        norm = self._update(rate)
        decay = average_decay(self.settings.average, micro_batch.update, cadence.updates)
        if decay is not None:
            # Only frameworks are built with an average.
            assert isinstance(self.framework, Framework)
            self.framework.update_average(decay)
        if micro_batch.row_due:
            self._require_finite()
            self._log(micro_batch, rate, norm)
        if micro_batch.checkpoint_due:
            self.listener.checkpoint(micro_batch.after, self.state())

    def _checkpoint_between(self, micro_batch: MicroBatch) -> None:
        """Hand the listener a checkpoint where none is due, so that the next rows stay the same."""
        if micro_batch.checkpoint_due:
            return
        self._require_finite()
        self.listener.checkpoint(micro_batch.after, self.state() | {"meter": self._meter.state()})

    def _add_gradient(self, clips: ClipBatch, micro_batch: MicroBatch) -> dict[str, Tensor]:
        """Add a micro-batch's share to the gradient of its update; returns its losses."""
        self._seed_dropout(micro_batch)
        # Workers exchange gradients once an update, with its last micro-batch.
        exchange: AbstractContextManager[Any] = nullcontext()
        if isinstance(self.model, DistributedDataParallel) and not micro_batch.ends_update:
            exchange = self.model.no_sync()
        with exchange:
            losses = self._losses(clips, micro_batch.epoch, watch=micro_batch.row_due)
            (losses[LOSS] / micro_batch.averaged_over).backward()
        return losses

    def _seed_dropout(self, micro_batch: MicroBatch) -> None:
        """Seed torch from where training stands: there is no random state to save or to lose."""
        if not self.settings.has_dropout:
            return
        key = [self.settings.seed, micro_batch.epoch, micro_batch.step, self.rank]
        state = np.random.SeedSequence(key).generate_state(1, np.uint64)
        # torch takes a signed number.
        torch.manual_seed(int(state[0] >> 1))

    def _losses(self, clips: ClipBatch, epoch: int, watch: bool = False) -> dict[str, Tensor]:
        """Call the model on this worker's share of a micro-batch."""
        with self._autocast:
            on_device = clips.to(self.device, non_blocking=True)
            return self.model(on_device, self.settings.seed, epoch, watch)

    def _learning_rate(self, update: int, cadence: Cadence) -> float:
        """The learning rate of an update."""
        scale = factor(self.settings.schedule, update, cadence.updates_per_epoch, cadence.epochs)
        return self.settings.learning_rate * scale

    def _update(self, rate: float) -> Tensor:
        """Change the weights by the gradient; returns the gradient's norm before clipping, []."""
        # An infinite limit clips nothing, but the norm is measured all the same.
        largest = self.settings.clip_norm or float("inf")
        norm = nn.utils.clip_grad_norm_(self.framework.parameters(), largest)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return norm

    def _require_finite(self) -> None:
        """Raise LossNotFiniteError if a loss since the start was infinite or not a number."""
        bad = self._meter.first_bad()
        if bad is not None:
            raise LossNotFiniteError(
                f"loss is not finite at step {bad}; lower train.optimiser.lr or set train.clip_norm"
            )

    def _log(self, micro_batch: MicroBatch, rate: float, norm: Tensor) -> None:
        """Hand a row of metrics to the listener, and keep it for the next checkpoints."""
        row = self._meter.row() | {
            LEARNING_RATE: rate,
            GRADIENT_NORM: float(norm),
            STEP: micro_batch.after.updates,
            EPOCH: micro_batch.epoch,
            TIME: time.time(),
        }
        self._recent.append(row)
        self.listener.row(row)
