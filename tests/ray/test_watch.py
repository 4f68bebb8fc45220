"""What is measured while training goes on: which clips, and what becomes of failures."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.probes import LinearProbe, linear_evaluation, retrieval
from pipeline.config.schema import load
from pipeline.encoder.build import build_framework
from pipeline.encoder.export import Preparation
from pipeline.pretrain import watch as module
from pipeline.pretrain.watch import Watch, Watcher, choose, held_out
from pipeline.store.clip_store import ClipStore
from pipeline.store.protocols import sides_of
from pipeline.stream.plan import Part
from tests.helpers.stores import SHARDS, write_store

SETTINGS = ["data.persons=1", "train.watch={every_epochs: 2, share: 0.25, max_clips: 60}"]


class Index:
    """Random columns of a store."""

    def __init__(self, clips, seed, people=10, labels=4):
        random = np.random.default_rng(seed)
        self.subject = random.integers(1, people + 1, clips) if people else np.full(clips, -1)
        self.performance_id = np.array(
            [f"p{n}" for n in random.integers(0, max(1, clips // 3), clips)]
        )
        self.label = random.integers(-1, labels, clips)


@given(
    st.integers(1, 200),
    st.integers(0, 99),
    st.sampled_from([0, 1, 2, 10]),
    st.integers(2, 250),
    st.floats(0.05, 0.95),
)
def test_gallery_and_queries_share_no_person_and_no_performance(clips, seed, people, most, share):
    index = Index(clips, seed, people)
    ids = np.flatnonzero(np.random.default_rng(seed).random(clips) < 0.8)
    gallery, queries = choose(index, ids, share, most, seed)
    both = np.concatenate([gallery, queries])
    assert (
        set(both) <= set(ids)
        and len(set(both)) == len(both) <= most
        and (index.label[both] >= 0).all()
    )
    group = index.subject if len(np.unique(index.subject[both])) > 1 else index.performance_id
    assert not set(group[gallery]) & set(group[queries])
    assert set(index.label[queries]) <= set(index.label[gallery])
    assert all(
        np.array_equal(a, b)
        for a, b in zip((gallery, queries), choose(index, ids, share, most, seed), strict=True)
    )


@given(st.integers(2, 40), st.integers(0, 99), st.floats(0.01, 0.99))
def test_a_share_of_the_groups_is_held_out_by_seed_whatever_the_order(groups, seed, share):
    names = np.repeat(np.arange(groups), 3)
    held = held_out(names, share, seed)
    assert held.sum() == 3 * min(max(1, round(share * groups)), groups - 1)
    order = np.random.default_rng(seed).permutation(len(names))
    assert np.array_equal(held_out(names[order], share, seed), held[order])


def test_the_seed_decides_who_is_held_out():
    names = np.arange(40)
    assert not np.array_equal(held_out(names, 0.3, 0), held_out(names, 0.3, 1))


class Remote:
    """Ray without Ray: calls are tuples that are ready at once or never."""

    def __init__(self, results):
        self.results, self.asked = results, []
        self.measure = self

    def remote(self, uri):
        self.asked.append(uri)
        return uri


def test_checkpoints_that_come_while_one_is_measured_wait_and_the_newest_stays(monkeypatch):
    watch, ready = Watch(load(SETTINGS), None, 0.5), []
    actor = watch.actor = Remote({})
    monkeypatch.setattr(
        module.ray, "wait", lambda refs, timeout: ([r for r in refs if r in ready], [])
    )
    monkeypatch.setattr(module.ray, "get", lambda ref: {"watch/knn_top1": 0.5})
    for epoch in range(1, 7):  # one in two epochs is wanted
        watch.offer(f"epoch-{epoch}", epoch, 10 * epoch)
        assert watch.poll() is None
    assert actor.asked == ["epoch-2"]
    ready.append("epoch-2")
    assert watch.poll() == (20, {"watch/knn_top1": 0.5})
    assert actor.asked == ["epoch-2", "epoch-6"] and watch.poll() is None


def test_a_checkpoint_that_is_gone_is_a_line_and_the_next_is_measured(
    ray_session, tmp_path, capsys
):
    config = load(SETTINGS)
    store = ClipStore.open(write_store(str(tmp_path / "store"), config))
    watch = Watch(
        config, Part(store, sides_of(config.data.protocols, config.data.protocol)["train"]), 0.5
    )
    for epoch in (2, 4):
        watch.offer(str(tmp_path / "nowhere"), epoch, epoch)
        assert watch.poll() is None and watch.poll(60) is None and watch.pending is None
    shown = capsys.readouterr().out
    assert (
        shown.count("\n") == 2
        and "watching failed at step 4" in shown
        and "training goes on" in shown
    )
    watch.close()


@pytest.mark.parametrize("objective", ["dc", "late"])
def test_figures_are_those_of_the_checkpoint_on_the_clips_held_out(
    tmp_path, monkeypatch, objective
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
            "train.watch.max_clips=90",
            "evaluate.linear.epochs=5",
        ]
    )
    store = ClipStore.open(write_store(str(tmp_path / "store"), config))
    part = Part(store, sides_of(config.data.protocols, config.data.protocol)["train"])
    torch.manual_seed(1)
    framework = build_framework(config).eval()
    monkeypatch.setattr(
        module.checkpoint, "load", lambda uri: (None, {"framework": framework.state_dict()})
    )
    monkeypatch.setattr(module.os, "nice", lambda by: None)
    found = Watcher(config, part).measure("anywhere")

    index = store.index()
    gallery, queries = choose(index, store.select(part.side, index), 0.25, 90, config.seed)
    backbone = framework.backbone
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
    assert found == {
        "watch/knn_top1": retrieval(*sides, config.evaluate.knn.k, parts=parts).accuracy,
        "watch/linear_top1": linear_evaluation(*sides, probe, config.seed, parts=parts).accuracy,
    }


def test_clips_without_labels_turn_it_off(ray_session, tmp_path, capsys):
    config = load(SETTINGS)
    store = ClipStore.open(
        write_store(str(tmp_path / "store"), config, lambda row: row | {"label": None})
    )
    watch = Watch(
        config, Part(store, sides_of(config.data.protocols, config.data.protocol)["train"]), 0.5
    )
    watch.offer(str(tmp_path / "nowhere"), 2, 2)
    assert watch.poll() is None and watch.poll(60) is None
    assert (
        "watching is off: too few clips of the training side have labels" in capsys.readouterr().out
    )
    watch.offer(str(tmp_path / "nowhere"), 4, 4)
    assert watch.poll() is None and watch.pending is None
