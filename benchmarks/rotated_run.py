"""A run of the benchmark of noise: training on rotated batches, and the probe of the result."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.numpy import load

from models.clips import ClipBatch
from pipeline.core import storage
from pipeline.encoder.build import build_framework
from pipeline.evaluate.labelled import LabelledFeatures
from pipeline.evaluate.linear import measure_linear
from pipeline.evaluate.steps import protocols_of
from pipeline.pretrain.alone import own_device, train_alone
from pipeline.pretrain.outcome import export_encoders
from pipeline.runs import files
from pipeline.runs.resolved import ResolvedRun
from pipeline.stream.caches.clip_stream import WorkerShare
from pipeline.stream.caches.memory import MemoryStream
from pipeline.stream.instructions import Shards, read_pieces
from pipeline.stream.selection import select


class RotatedStream(MemoryStream):
    """The batches of `MemoryStream`, in which the last clips come first.

    Example: rotated by 1, a batch of the clips 3 5 7 8 is 8 3 5 7. Views depend on the clip and not
    on its place, so that only the order of sums differs.
    """

    def __init__(self, share: WorkerShare, tables: Iterable[pa.Table], rotation: int):
        super().__init__(share, "memory, rotated", tables)
        self.rotation = rotation

    def _gather(self, rows: np.ndarray) -> ClipBatch:
        return super()._gather(np.roll(rows, self.rotation))


class RotatedPlan:
    """What `train_alone` takes of a `StreamPlan`, read in this process without Ray."""

    def __init__(self, run: ResolvedRun, rotation: int):
        self.run = run
        self.rotation = rotation

    def worker(
        self, rank: int, world_size: int, device: torch.device, gpu_share: float
    ) -> RotatedStream:
        config = self.run.config
        parts = self.run.pool
        selection = select(parts, with_pairs=config.stream.pairs == "cameras")
        share = WorkerShare(
            epochs=selection.epochs(config.train.batch_size, config.seed),
            rank=rank,
            world_size=world_size,
            device=device,
            selection=selection,
            persons=self.run.store.persons,
            joints=self.run.store.joints,
        )
        pieces = Shards.of(part.store for part in parts).pieces(selection.ids)
        return RotatedStream(share, read_pieces(pa.Table.from_pylist(pieces)), self.rotation)


class Unheard:
    """A listener of the training loop for which only the end counts."""

    def row(self, row: dict[str, Any]) -> None:
        pass

    def checkpoint(self, position: Any, state: dict[str, Any]) -> None:
        pass


def train_rotated(run: ResolvedRun, rotation: int) -> None:
    """Train in this process, and export both encoders.

    Args:
        run: the run. Its directory is written to.
        rotation: clips by which every batch is rotated.
    """
    framework = build_framework(run.config).to(own_device(run.config.cluster))
    train_alone(framework, run.config, RotatedPlan(run, rotation), Unheard())
    export_encoders(run, framework.state_dict())


def linear_by_seed(run: ResolvedRun, seeds: int) -> list[float]:
    """Return the linear accuracy of the encoder's features with each seed of the probe."""
    path = run.directory.path(files.FEATURES, f"{files.ENCODER}.safetensors")
    arrays = load(storage.read_bytes(path))
    features = (arrays["train/features"], arrays["test/features"])
    labels = (arrays["train/labels"], arrays["test/labels"])
    labelled = LabelledFeatures.of(features, labels, own_device(run.config.cluster).type)
    protocols = protocols_of(run)
    accuracies = []
    for seed in range(seeds):
        measured = measure_linear(labelled, protocols.probe, protocols.parts, seed)
        accuracies.append(measured.top1)
    return accuracies
