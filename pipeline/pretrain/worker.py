"""One training worker of Ray Train: it runs the training loop on its share of every batch."""

import tempfile
from dataclasses import asdict, dataclass
from typing import Any

import ray.train
import ray.train.torch
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.config.root import Config
from pipeline.core import storage
from pipeline.encoder.build import build_framework
from pipeline.pretrain import checkpoint
from pipeline.pretrain.agreement import never
from pipeline.pretrain.cadence import START, Position
from pipeline.pretrain.channel import Channel
from pipeline.pretrain.loop import LoopSettings, LossNotFiniteError, TrainingLoop
from pipeline.pretrain.messages import (
    CheckpointWritten,
    Message,
    RowLogged,
    TrainingBegan,
    TrainingFailed,
    TrainingStopped,
)
from pipeline.pretrain.optimiser import build_optimiser
from pipeline.stream.plan import StreamPlan


@dataclass(frozen=True)
class TrainingJob:
    """What the driver hands every worker.

    Args:
        config: of the run.
        plan: of the clip stream.
        channel: to the driver; the worker of rank 0 puts `Message`s.
        checkpoints: where checkpoints go; every attempt has a directory there.
        resume: the checkpoint of an earlier attempt to go on from, or None.
    """

    config: Config
    plan: StreamPlan
    channel: Channel
    checkpoints: str
    resume: str | None


def train(job: TrainingJob) -> None:
    """Train from the newest checkpoint to the last epoch; Ray Train runs this on every worker."""
    context = ray.train.get_context()
    rank = context.get_world_rank()
    world_size = context.get_world_size()
    torch.set_num_threads(job.config.cluster.threads)
    device = ray.train.torch.get_device()

    framework = build_framework(job.config).to(device)
    model: nn.Module = framework
    if world_size > 1:
        # Batch statistics are those of the global batch already: no buffers to broadcast.
        model = DistributedDataParallel(framework, broadcast_buffers=False)
    optimiser = build_optimiser(framework.parameters(), job.config.train.optimiser)
    reports = RayReports(job.channel, rank)
    loop = TrainingLoop(
        model,
        optimiser,
        LoopSettings.of(job.config),
        reports,
        device=device,
        rank=rank,
        # The loop lets all workers stop if one is asked.
        stop_asked=job.channel.stop_asked if rank == 0 else never,
    )
    with job.plan.worker(rank, world_size, device) as stream:
        if world_size > 1:
            loop.settle_gradient_buckets(stream)
        start = _restore(loop, newest_checkpoint(job))
        try:
            reports.began()
            if not loop.run(stream, start):
                reports.stopped()
        except LossNotFiniteError as error:
            # Not raised: Ray Train would take it for a lost worker and try again.
            reports.failed(str(error))


def _restore(loop: TrainingLoop, uri: str | None) -> Position:
    """Load the checkpoint to go on from, if any; returns where training stands."""
    if uri is None:
        return START
    resume = checkpoint.load(uri)
    loop.load_state(resume.state)
    return resume.position


def newest_checkpoint(job: TrainingJob) -> str | None:
    """The checkpoint to go on from: of this attempt after a worker failed, else of an earlier one.

    Ray Train gives a path in the file system of the storage. Its last two parts are the attempt and
    the checkpoint:

        bucket/run/checkpoints/attempt-20260131-235959-0a1b2c3d/step-00000120
    """
    latest = ray.train.get_checkpoint()
    if latest is None:
        return job.resume
    attempt, name = latest.path.split("/")[-2:]
    return storage.join(job.checkpoints, attempt, name)


class RayReports:
    """The loop's listener: checkpoints go to Ray Train, and word of everything to the driver.

    Args:
        channel: to the driver.
        rank: of this worker. All workers compute the same; that of rank 0 speaks for them.
    """

    def __init__(self, channel: Channel, rank: int):
        self.channel = channel
        self.rank = rank

    def row(self, row: dict[str, Any]) -> None:
        """Send a row of metrics to the driver."""
        self._tell(RowLogged(row))

    def checkpoint(self, position: Position, state: dict[str, Any]) -> None:
        """Give a checkpoint to Ray Train, which waits until every worker has come this far."""
        metrics = asdict(position)
        if self.rank != 0:
            ray.train.report(metrics)
            return
        with tempfile.TemporaryDirectory() as directory:
            checkpoint.save(directory, position, state)
            ray.train.report(
                metrics,
                checkpoint=ray.train.Checkpoint.from_directory(directory),
                checkpoint_dir_name=checkpoint.directory(position.updates),
            )
        self._tell(CheckpointWritten(position))

    def began(self) -> None:
        """Tell the driver that the first step comes now."""
        self._tell(TrainingBegan())

    def stopped(self) -> None:
        """Tell the driver that training has stopped, as it wanted."""
        self._tell(TrainingStopped())

    def failed(self, reason: str) -> None:
        """Tell the driver that training cannot go on."""
        self._tell(TrainingFailed(reason))

    def _tell(self, message: Message) -> None:
        if self.rank == 0:
            self.channel.put_nowait(message)
