"""Watching a run: what the checkpoint just written would score, measured beside training, on the training side alone.

A share of the training side's people (performances, where people are not known) is held out from the gallery that the
rest is; pretraining sees all of them all the same. Labels are read here and nowhere else before evaluation; the test
side is never touched. Nothing that training computes depends on it, and no failure of it ends a run.
"""

import hashlib
import os

import numpy as np
import pyarrow as pa
import ray
import torch
from ray.exceptions import RayActorError, RayError

from models.probes import LinearProbe, linear_evaluation, retrieval
from pipeline.config.schema import Config
from pipeline.core.console import say
from pipeline.core.errors import first_line
from pipeline.encoder.build import build_framework
from pipeline.encoder.export import Preparation
from pipeline.pretrain import checkpoint
from pipeline.store.blocks import table_to_clips
from pipeline.store.clip_store import StoreIndex
from pipeline.stream.plan import Part
from pipeline.stream.reader import READ_CPUS, Shards, read_pieces

# How long a run that is done waits for a measurement that is under way.
WAIT_SECONDS = 30
# Of the operating system, 0 to 19: where CPUs are scarce, training has them.
NICE = 10


def held_out(groups: np.ndarray, share: float, seed: int) -> np.ndarray:
    """bool [N]: clips of a share of the groups, at least one and never all of several, by a hash of their names."""
    names = sorted(
        np.unique(groups).tolist(),
        key=lambda name: hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest(),
    )
    return np.isin(groups, names[: min(max(1, round(share * len(names))), max(1, len(names) - 1))])


def choose(
    index: StoreIndex, ids: np.ndarray, share: float, most: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Gallery and queries out of the clips `ids`, both ascending ids, at most `most` together; all have labels.

    No person, or no performance where people are not known, is on both sides; queries have labels that the gallery has.
    """
    ids = ids[index.label[ids] >= 0]
    # Rows lie in a random order: some that follow each other are a fair draw, and few row groups hold them.
    start = np.random.default_rng(seed).integers(max(1, len(ids)))
    ids = np.sort(np.roll(ids, -start)[:most])
    people = index.subject[ids]
    known = (people >= 0).all() and len(np.unique(people)) > 1
    held = held_out(people if known else index.performance_id[ids], share, seed)
    gallery, queries = ids[~held], ids[held]
    return gallery, queries[np.isin(index.label[queries], index.label[gallery])]


class Watcher:
    """The actor: holds the clips, measures one checkpoint after another on one thread."""

    def __init__(self, config: Config, part: Part):
        os.nice(NICE)
        torch.set_num_threads(1)
        self.config, store = config, part.store
        index, watch = store.index(), config.train.watch
        sides = choose(
            index, store.select(part.side, index), watch.share, watch.max_clips, config.seed
        )
        self.ids = np.union1d(*sides)
        self.rows = [torch.from_numpy(np.searchsorted(self.ids, side)) for side in sides]
        self.labels = [torch.from_numpy(index.label[side]) for side in sides]
        self.measurable = all(map(len, sides))
        if not self.measurable:
            return
        pieces = pa.Table.from_pylist(Shards.of([store]).pieces(self.ids))
        self.table = pa.concat_tables(read_pieces(pieces))
        self.backbone = build_framework(config).backbone.eval()
        self.parts = tuple(self.backbone.parts.values())
        self.prepare = Preparation(
            self.backbone.layout,
            store.persons,
            self.backbone.frames,
            **config.data.normalise.model_dump(),
        )

    def measure(self, uri: str) -> dict[str, float] | None:
        """Figures of a checkpoint; None where too few clips have labels for any."""
        if not self.measurable:
            return None
        weights = checkpoint.load(uri)[1]["framework"]
        prefix = "backbone."
        own = {
            name.removeprefix(prefix): value
            for name, value in weights.items()
            if name.startswith(prefix)
        }
        self.backbone.load_state_dict(own)
        features, size = [], self.config.evaluate.batch_size
        with torch.inference_mode():
            for start in range(0, len(self.ids), size):
                clips = table_to_clips(
                    self.table.slice(start, size),
                    self.prepare.persons,
                    self.prepare.layout.num_joints,
                )
                features.append(self.backbone.features(self.prepare(clips)))
        features = torch.cat(features).clone()
        (gallery, known), (queries, asked) = zip(
            (features[rows] for rows in self.rows), self.labels, strict=True
        )
        sides = gallery, known, queries, asked
        probe, k = (
            LinearProbe(**self.config.evaluate.linear.model_dump()),
            self.config.evaluate.knn.k,
        )
        return {
            "watch/knn_top1": retrieval(*sides, min(k, len(gallery)), parts=self.parts).accuracy,
            "watch/linear_top1": linear_evaluation(
                *sides, probe, self.config.seed, parts=self.parts
            ).accuracy,
        }


class Watch:
    """The driver's end: hands checkpoints to a `Watcher`, one at a time, and collects what it found.

    Checkpoints that come while one is being measured are left out, but for the newest. The first checkpoint in or after
    every `train.watch.every_epochs` epochs is wanted; `begun` epochs were done before.
    """

    def __init__(self, config: Config, part: Part, cpus: float, begun: int = 0):
        self.config, self.part, self.cpus = config, part, cpus
        self.every, self.epoch = config.train.watch.every_epochs, begun
        self.actor = self.pending = self.waiting = None

    @classmethod
    def beside(cls, config: Config, part: Part, cache: str, begun: int) -> "Watch":
        """On what the cluster keeps free of workers, which reading has for itself while clips come from the files."""
        return cls(config, part, 0 if cache == "none" else READ_CPUS, begun)

    def offer(self, uri: str, epoch: int, step: int) -> None:
        """A checkpoint was written, `epoch` epochs and `step` updates into training."""
        if self.every and epoch // self.every > self.epoch // self.every:
            self.epoch, self.waiting = epoch, (uri, step)

    def poll(self, seconds: float = 0) -> tuple[int, dict[str, float]] | None:
        """(step, figures) of a measurement that came back since, waiting so long; starts what waits for its turn."""
        found = None
        if self.pending:
            result, step = self.pending
            if ray.wait([result], timeout=seconds)[0]:
                self.pending = None
                found = self._take(result, step)
        if self.waiting and not self.pending:
            (uri, step), self.waiting = self.waiting, None
            if self.actor is None:
                # Only now: the workers have their places, and it takes what they left.
                options = {"num_cpus": self.cpus, "num_gpus": 0, "max_restarts": 0}
                self.actor = ray.remote(Watcher).options(**options).remote(self.config, self.part)
            self.pending = self.actor.measure.remote(uri), step
        return found

    def _take(self, result: ray.ObjectRef, step: int) -> tuple[int, dict[str, float]] | None:
        try:
            figures = ray.get(result)
        except RayError as error:
            say(f"  watching failed at step {step}: {first_line(error)}; training goes on")
            if isinstance(error, RayActorError):
                self.actor = None
            return None
        if figures is None:
            say("  watching is off: too few clips of the training side have labels")
            self.close()
            return None
        return step, figures

    def close(self) -> None:
        """End it; nothing is watched any more."""
        if self.actor is not None:
            ray.kill(self.actor)
        self.actor = self.pending = self.waiting = self.every = None
