"""Training by one worker in this process, without Ray Train. It gives the same weights."""

import torch

from models.framework import Framework
from pipeline.config.cluster import Cluster
from pipeline.config.root import Config
from pipeline.core import storage
from pipeline.pretrain import checkpoint
from pipeline.pretrain.cadence import START, Position
from pipeline.pretrain.checkpoint import Checkpoint
from pipeline.pretrain.loop import Listener, LoopSettings, TrainingLoop
from pipeline.pretrain.optimiser import build_optimiser
from pipeline.stream.plan import StreamPlan


def own_device(cluster: Cluster) -> torch.device:
    """Return the device that this process computes on."""
    return torch.device("cuda" if cluster.gpu else "cpu")


def train_alone(
    framework: Framework,
    config: Config,
    plan: StreamPlan,
    listener: Listener,
    *,
    resume: Checkpoint | None = None,
    gpu_share: float = 1.0,
) -> None:
    """Train to the last epoch.

    Args:
        framework: with its initial weights, on the device of this process. It is trained.
        config: of the run.
        plan: of the clip stream.
        listener: receives rows and checkpoints.
        resume: where training goes on, None for the start.
        gpu_share: the part of a GPU that is this process's.

    Raises:
        LossNotFiniteError: training cannot go on.
    """
    device = own_device(config.cluster)
    optimiser = build_optimiser(framework.parameters(), config.train.optimiser)
    loop = TrainingLoop(framework, optimiser, LoopSettings.of(config), listener, device=device)
    with plan.worker(0, 1, device, gpu_share) as stream:
        start = START
        if resume is not None:
            loop.load_state(resume.state)
            start = resume.position
        loop.run(stream, start)


class CheckpointFolder:
    """The checkpoints of one attempt, of which the newest are kept.

    Args:
        uri: directory of the attempt, in that of all checkpoints.
        keep: how many are kept.
        resume: the checkpoint that training goes on from. It counts as the oldest of them.
    """

    def __init__(self, uri: str, keep: int, resume: str | None):
        self.uri = uri
        self.keep = keep
        self._written = [] if resume is None else [resume]

    @property
    def newest(self) -> str:
        """Directory of the newest checkpoint; there is one after every training."""
        return self._written[-1]

    def write(self, position: Position, state: dict[str, object]) -> None:
        """Write a checkpoint, and delete those that are too many."""
        uri = storage.join(self.uri, checkpoint.directory(position.updates))
        checkpoint.save(uri, position, state)
        self._written.append(uri)
        while len(self._written) > self.keep:
            storage.delete_directory(self._written.pop(0))
