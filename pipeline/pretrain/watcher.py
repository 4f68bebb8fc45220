"""The actor that measures a checkpoint, beside training and on the training side alone.

A share of the training side's persons (of its performances, where persons are not known) is held
out from the gallery, which is the rest. Pretraining sees all of them all the same. No other code
reads labels before evaluation, and none touches the test side.
"""

import os

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from models.probes import LinearProbe, linear_evaluation, retrieval
from pipeline.config.root import Config
from pipeline.encoder.build import build_framework
from pipeline.encoder.export import Preparation
from pipeline.pretrain import checkpoint
from pipeline.pretrain.watched_clips import choose
from pipeline.runs.metric_names import WATCH_KNN, WATCH_LINEAR
from pipeline.store.blocks import table_to_clips
from pipeline.stream.instructions import Shards, read_pieces
from pipeline.stream.selection import Part

# Of the operating system, 0 to 19: where CPUs are scarce, training has them.
NICE = 10
# Where a framework keeps its backbone.
BACKBONE = "backbone."


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
        # The clips of both sides are read as one ascending list; each side knows its rows in it.
        self.ids = np.union1d(gallery, queries)
        self.gallery_rows = torch.from_numpy(np.searchsorted(self.ids, gallery))
        self.query_rows = torch.from_numpy(np.searchsorted(self.ids, queries))
        self.gallery_labels = torch.from_numpy(index.label[gallery])
        self.query_labels = torch.from_numpy(index.label[queries])
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
        """Measure a checkpoint.

        Returns:
            Its accuracies as fractions; None where too few clips have labels for any.
        """
        if not self.measurable:
            return None
        self._load_backbone(checkpoint.load(uri).state["framework"])
        features = self._features()
        gallery = features[self.gallery_rows]
        queries = features[self.query_rows]
        neighbours = retrieval(
            gallery,
            self.gallery_labels,
            queries,
            self.query_labels,
            min(self.config.evaluate.knn.k, len(gallery)),
            parts=self.parts,
        )
        linear = linear_evaluation(
            gallery,
            self.gallery_labels,
            queries,
            self.query_labels,
            LinearProbe(**self.config.evaluate.linear.model_dump()),
            self.config.seed,
            parts=self.parts,
        )
        return {WATCH_KNN: neighbours.accuracy, WATCH_LINEAR: linear.accuracy}

    def _load_backbone(self, framework: dict[str, Tensor]) -> None:
        """Take over the backbone's weights from those of a whole framework."""
        weights = {}
        for name, value in framework.items():
            if name.startswith(BACKBONE):
                weights[name.removeprefix(BACKBONE)] = value
        self.backbone.load_state_dict(weights)

    def _features(self) -> Tensor:
        """Features [clips, D] of all clips, in the order of their ids."""
        batches = []
        size = self.config.evaluate.batch_size
        with torch.inference_mode():
            for start in range(0, len(self.ids), size):
                clips = table_to_clips(
                    self.table.slice(start, size),
                    self.prepare.persons,
                    self.prepare.layout.num_joints,
                )
                batches.append(self.backbone.features(self.prepare(clips)))
        # A copy from outside inference mode: the linear probe computes gradients from it.
        return torch.cat(batches).clone()
