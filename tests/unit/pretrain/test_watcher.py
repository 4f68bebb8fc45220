"""What the watcher measures of a checkpoint, in this process."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from models.probes import LinearProbe, linear_evaluation
from models.retrieval import retrieval
from pipeline.config.compose import load
from pipeline.encoder.build import build_framework
from pipeline.encoder.export import Preparation
from pipeline.pretrain import watcher
from pipeline.pretrain.cadence import START
from pipeline.pretrain.checkpoint import Checkpoint
from pipeline.pretrain.watched_clips import choose
from pipeline.pretrain.watcher import Watcher
from pipeline.store.clip_store import ClipStore
from pipeline.store.protocols import sides_of
from pipeline.stream.selection import Part
from tests.helpers.stores import SHARDS, write_store

SETTINGS = ["data.persons=1", "train.watch={every_epochs: 2, share: 0.25, max_clips: 60}"]


@pytest.mark.parametrize(("objective", "decay"), [("dc", "null"), ("late", "null"), ("dc", "0.99")])
def test_figures_are_those_of_the_checkpoint_on_the_clips_held_out(
    tmp_path, monkeypatch, objective, decay
):
    """Against an encoder of the same weights that sees the clips one by one, as recorded."""
    small = [
        "model.frames=8",
        "model.width=16",
        "model.heads=2",
        "model.feedforward=16",
        "views.min_frames=4",
    ]
    config = load(
        [
            *SETTINGS,
            *small,
            f"objective={objective}",
            f"train.average.decay={decay}",
            "train.watch.max_clips=90",
            "evaluate.linear.epochs=5",
        ]
    )
    store = ClipStore.open(write_store(str(tmp_path / "store"), config))
    part = Part(store, sides_of(config.data.protocols, config.data.protocol)["train"])
    torch.manual_seed(1)
    framework = build_framework(config).eval()
    if framework.average is not None:
        # It is measured, and not the backbone.
        for weight in framework.backbone.parameters():
            weight.data.normal_()
    monkeypatch.setattr(
        watcher.checkpoint,
        "load",
        lambda uri: Checkpoint(uri, START, {"framework": framework.state_dict()}),
    )
    monkeypatch.setattr(watcher.os, "nice", lambda by: None)
    monkeypatch.setattr(watcher.torch, "set_num_threads", lambda count: None)
    found = Watcher(config, part).measure("anywhere")

    index = store.index()
    gallery, queries = choose(index, store.select(part.side, index), 0.25, 90, config.seed)
    backbone = framework.exported
    prepare = Preparation(
        backbone.layout, store.persons, backbone.frames, **config.data.normalise.model_dump()
    )
    recorded = {}
    for shard in range(SHARDS):
        for row in pq.read_table(tmp_path / "store" / f"shard-{shard:05d}.parquet").to_pylist():
            recorded[row["clip_id"]] = np.frombuffer(row["joints"], np.float32).reshape(
                row["num_frames"], 1, -1, 3
            )

    def features(ids):
        with torch.inference_mode():
            each = [backbone.features(prepare([recorded[name]])) for name in index.clip_id[ids]]
        return torch.cat(each).clone(), torch.from_numpy(index.label[ids])

    sides, parts = (*features(gallery), *features(queries)), tuple(backbone.parts.values())
    probe = LinearProbe(**config.evaluate.linear.model_dump())
    assert len(queries) > 10 and len(parts) == (3 if objective == "late" else 1)
    nearest = retrieval(*sides, config.evaluate.knn.k, parts=parts)
    assert found == {
        "watch/knn_top1": nearest.accuracy,
        "watch/retrieval_map": pytest.approx(nearest.mean_average_precision, abs=1e-5),
        "watch/linear_top1": linear_evaluation(*sides, probe, config.seed, parts=parts).accuracy,
    }
