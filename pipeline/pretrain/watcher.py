"""The actor that measures a checkpoint, beside training and on the training side alone.

A share of the training side's persons (of its performances, where persons are not known) is held
out from the gallery, which is the rest. Pretraining sees all of them all the same. It never touches
the test side.
"""

import os

import numpy as np
import torch
from torch import Tensor

from pipeline.config.root import Config
from pipeline.encoder.build import build_framework
from pipeline.encoder.export import Preparation
from pipeline.pretrain import checkpoint
from pipeline.pretrain.kept_clips import KeptClips
from pipeline.pretrain.labelled_sides import LabelledSides
from pipeline.pretrain.watched_clips import choose
from pipeline.runs.metric_names import WATCH_PREFIX
from pipeline.stream.selection import Part

# Of the operating system, 0 to 19: where CPUs are scarce, training has them.
NICE = 10
# Where a framework keeps its backbone, and the average of its weights.
BACKBONE = "backbone."
AVERAGE = "average."


class Watcher:
    """Holds the clips, and measures one checkpoint after another on one thread.

    Args:
        config: of the run.
        part: the training side of the run's store.
    """

    def __init__(self, config: Config, part: Part):
        os.nice(NICE)
        torch.set_num_threads(1)
        self.config = config
        store = part.store
        index = store.index()
        settings = config.train.watch
        candidates = store.select(part.side, index)
        gallery, queries = choose(
            index, candidates, settings.share, settings.max_clips, config.seed
        )
        self.measurable = len(gallery) > 0 and len(queries) > 0
        if not self.measurable:
            return
        self.clips = KeptClips.read(store, np.union1d(gallery, queries))
        self.sides = LabelledSides.of(self.clips, index.label, gallery, queries)
        self.backbone = build_framework(config).exported.eval()
        self.prepare = Preparation(
            self.backbone.layout,
            store.persons,
            self.backbone.frames,
            **config.data.normalise.model_dump(),
        )

    def measure(self, uri: str) -> dict[str, float] | None:
        """Measure a checkpoint.

        Returns:
            Its accuracies as fractions; None where too few clips have labels for any.
        """
        if not self.measurable:
            return None
        self._load_backbone(checkpoint.load(uri).state["framework"])
        features = self.clips.encode(
            lambda clips: self.backbone.features(self.prepare(clips)),
            self.config.evaluate.batch_size,
        )
        parts = tuple(self.backbone.parts.values())
        accuracies = self.sides.accuracies(features, parts, self.config.evaluate, self.config.seed)
        return {f"{WATCH_PREFIX}{name}": value for name, value in accuracies.items()}

    def _load_backbone(self, framework: dict[str, Tensor]) -> None:
        """Take over the weights of the exported encoder from those of a whole framework."""
        prefix = AVERAGE if self.config.train.average.is_exported else BACKBONE
        weights = {}
        for name, value in framework.items():
            if name.startswith(prefix):
                weights[name.removeprefix(prefix)] = value
        self.backbone.load_state_dict(weights)
