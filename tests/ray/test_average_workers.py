"""Two processes over gloo keep one average of the weights, also where training goes on.

It needs no Ray, but it starts processes, which a unit test must not do.
"""

from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path

import torch
import torch.distributed as dist
from torch.multiprocessing import start_processes
from torch.nn.parallel import DistributedDataParallel

from models.clips import ClipBatch
from pipeline.config.compose import load
from pipeline.encoder.build import build_framework
from pipeline.pretrain import checkpoint
from pipeline.pretrain.loop import LoopSettings, TrainingLoop
from pipeline.pretrain.optimiser import build_optimiser
from tests.helpers.training import Batches, Ears

WORLD = 2
SETTINGS = (
    "data.persons=1",
    "model={frames: 8, width: 16, heads: 2, feedforward: 16, feature_norm: batch}",
    "views.min_frames=4",
    "objective.targets={kind: composed, encoder: average}",
    "objective.alignment.mask_performances=true",
    "train={epochs: 2, log_every: 1, average: {decay: 0.9, rise: true}}",
    "train.checkpoint.every_steps=1",
)
# Updates of an epoch, and where training is taken up again.
STEPS = 3
RESUMED = 4


class Share(Batches):
    """The share of one of two workers; pairs of clips are of one performance."""

    def __init__(self, joints, rank):
        super().__init__(STEPS, clips=6, joints=joints)
        self.rank = rank

    def batch(self, epoch, step):
        whole = super().batch(epoch, step)
        mine = torch.arange(len(whole)).tensor_split(WORLD)[self.rank]
        ends = whole.offsets[mine + 1]
        first = int(whole.offsets[mine[0]])
        return ClipBatch(
            whole.frames[first : int(ends[-1])],
            torch.cat([torch.zeros(1, dtype=torch.int64), ends - first]),
            whole.ids[mine],
            whole.labels[mine],
            performances=mine // 2,
        )


class Disk(Ears):
    """Writes every checkpoint, as training does."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def checkpoint(self, position, state):
        folder = self.folder / checkpoint.directory(position.updates)
        folder.mkdir(parents=True)
        checkpoint.save(folder, position, state)


def trained(folder, rank, resume=None):
    """The framework's state after training from the start, or from a checkpoint."""
    config = load(list(SETTINGS))
    model = DistributedDataParallel(build_framework(config), broadcast_buffers=False)
    optimiser = build_optimiser(model.module.parameters(), config.train.optimiser)
    loop = TrainingLoop(
        model,
        optimiser,
        LoopSettings.of(config),
        Disk(folder),
        device=torch.device("cpu"),
        rank=rank,
    )
    stream = Share(len(config.data.skeleton.joints), rank)
    loop.settle_gradient_buckets(stream)
    if resume is None:
        loop.run(stream)
    else:
        loop.load_state(resume.state)
        loop.run(stream, resume.position)
    return loop.framework.state_dict()


def work(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", f"file://{folder}/store", rank=rank, world_size=WORLD, timeout=timedelta(seconds=60)
    )
    own = Path(folder) / str(rank)
    whole = trained(own / "whole", rank)
    resume = checkpoint.load(str(own / "whole" / checkpoint.directory(RESUMED)))
    resumed = trained(own / "resumed", rank, resume)
    torch.save((whole, resumed), own / "states.pt")
    dist.destroy_process_group()


def test_the_average_is_one_and_goes_on_bit_for_bit(tmp_path):
    get_context("forkserver").set_forkserver_preload([__name__])
    start_processes(work, (str(tmp_path),), WORLD, start_method="forkserver")
    states = []
    for rank in range(WORLD):
        states += torch.load(tmp_path / str(rank) / "states.pt")
    first = states[0]
    averaged = [name for name in first if name.startswith("average.")]
    assert any(
        not first[name].equal(first[name.replace("average", "backbone", 1)]) for name in averaged
    )
    for state in states[1:]:
        assert [name for name in first if not first[name].equal(state[name])] == []
