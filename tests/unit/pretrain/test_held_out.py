"""What is measured of a trial, in the process that trains it."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from models.monitors import effective_rank, uniformity
from models.probes import LinearProbe
from pipeline.config.compose import Request, load
from pipeline.config.sweep import Criterion
from pipeline.core.errors import UserError
from pipeline.encoder.build import build_framework
from pipeline.encoder.export import export_encoder
from pipeline.evaluate.extractor import Extraction, Extractor
from pipeline.evaluate.protocols import Protocols, measure_encoder
from pipeline.pretrain.held_out import HeldOut
from pipeline.pretrain.watched_clips import first_of_each_class
from pipeline.runs.directory import RunDirectory
from pipeline.runs.metric_names import CRITERIA
from pipeline.runs.resolved import resolve
from pipeline.store.clip_store import ClipStore
from pipeline.stream.instructions import Shards, read_pieces
from tests.helpers.stores import write_store

SMALL = [
    "data.persons=1",
    "model.frames=8",
    "model.width=16",
    "model.heads=2",
    "model.feedforward=16",
    "model.dropout=0.2",
    "views.min_frames=4",
    "evaluate.linear.epochs=5",
    "evaluate.batch_size=32",
]
LABEL_FREE = {name for name, info in CRITERIA.items() if not info.needs_labels}


def criterion(metric="linear_top1", max_clips=1000):
    return Criterion(metric=metric, held_out=0.2, every_epochs=1, max_clips=max_clips)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    uri = str(tmp_path_factory.mktemp("held_out") / "store")
    return write_store(uri, load(SMALL))


def run_of(store, *overrides):
    config = load([*SMALL, f"data.store={store}", f"output={store}-run", *overrides])
    return resolve(config, Request(), RunDirectory(config.output))


def backbone_of(run, seed=1):
    """An encoder in the midst of training, not the one that the seed of the run gives."""
    backbone = build_framework(run.config).backbone
    generator = torch.Generator().manual_seed(seed)
    for parameter in backbone.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return backbone.train()


@pytest.mark.parametrize("objective", ["dc", "late"])
def test_accuracies_are_those_of_the_stage_evaluate(store, tmp_path, objective):
    run = run_of(store, f"objective={objective}", "data.protocol=xsub")
    backbone = backbone_of(run)
    found = HeldOut.of(run, criterion()).measure(backbone)

    export_encoder(str(tmp_path / "encoder"), backbone, run.config)
    opened = run.store
    threads = torch.get_num_threads()
    extractor = Extractor(
        Extraction(
            {"encoder": str(tmp_path / "encoder")}, opened.persons, opened.joints, threads, "cpu"
        )
    )
    pieces = pa.Table.from_pylist(Shards.of([opened]).pieces(run.split.ids))
    rows = pa.concat_tables(read_pieces(pieces))
    features = []
    for first in range(0, len(rows), run.config.evaluate.batch_size):
        block = extractor(rows.slice(first, run.config.evaluate.batch_size))
        vectors = block["encoder"].combine_chunks().flatten().to_numpy()
        features.append(vectors.reshape(len(block), -1))
    expected = measure_encoder(
        run.split.rows(np.concatenate(features)),
        (run.split.train_labels, run.split.test_labels),
        Protocols(
            LinearProbe(**run.config.evaluate.linear.model_dump()),
            run.config.evaluate.knn.k,
            tuple(run.parts.values()),
            run.config.seed,
        ),
        threads,
        "cpu",
    )
    assert found["linear_top1"] == expected.linear.top1
    assert found["knn_top1"] == expected.knn.top1
    assert found["retrieval_map"] == pytest.approx(expected.knn.mean_average_precision)
    assert found.keys() == CRITERIA.keys()


def test_figures_without_labels_are_of_the_features_of_the_training_side(store):
    run = run_of(store)
    backbone = backbone_of(run)
    held_out = HeldOut.of(run, criterion("effective_rank"))
    found = held_out.measure(backbone)
    assert found.keys() == LABEL_FREE

    assert np.array_equal(held_out.clips.ids, run.store.select(run.sides["train"]))
    backbone.eval()
    features = held_out.clips.encode(
        lambda clips: backbone.features(held_out.prepare(clips)), batch_size=7
    )
    assert found["effective_rank"] == pytest.approx(float(effective_rank(features)), rel=1e-4)
    assert found["uniformity"] == pytest.approx(float(uniformity(features)), rel=1e-4)
    assert found["alignment_uniformity"] == found["alignment"] + found["uniformity"]
    assert 0 < found["alignment"] < 4


def test_no_label_and_no_clip_of_the_test_side_is_needed_without_labels(store, tmp_path):
    def spoil(row):
        """Nobody knows what the clips show, and those of the test side cannot be read as clips."""
        if row["camera"] == 1:
            row["joints"] = np.full_like(row["joints"], np.nan)
        return row | {"label": None}

    unlabelled = write_store(str(tmp_path / "store"), load(SMALL), spoil)
    run, labelled_run = run_of(unlabelled), run_of(store)
    backbone = backbone_of(run)
    found = HeldOut.of(run, criterion("alignment")).measure(backbone)
    assert found == HeldOut.of(labelled_run, criterion("alignment")).measure(backbone)
    with pytest.raises(UserError, match="no labelled action in common"):
        HeldOut.of(run, criterion())


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_training_goes_on_as_if_nothing_had_been_measured(store, norm):
    run = run_of(store, f"model.feature_norm={norm}")
    backbone = backbone_of(run)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    held_out = HeldOut.of(run, criterion())
    torch.manual_seed(3)
    numpy_state = np.random.get_state()[1].copy()
    expected = torch.rand(4)
    torch.manual_seed(3)
    first = held_out.measure(backbone)
    assert torch.equal(torch.rand(4), expected)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    assert all(module.training for module in backbone.modules())
    assert all(parameter.grad is None for parameter in backbone.parameters())
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, before[name]), name
    # The same weights, the same figures, also of an encoder that does not train.
    assert held_out.measure(backbone) == first == held_out.measure(backbone.eval())
    assert not backbone.training


def test_views_and_seed_of_a_trial_do_not_decide_its_figures_without_labels(store):
    run = run_of(store)
    other = run_of(store, "views.shear=0", "views.corrupt_joints=0", "views.crop=[1,1]", "seed=5")
    backbone = backbone_of(run)
    mild = HeldOut.of(other, criterion("alignment")).measure(backbone)
    assert mild == HeldOut.of(run, criterion("alignment")).measure(backbone)


def test_at_most_so_many_clips_of_each_side_are_read(store):
    run = run_of(store)
    held_out = HeldOut.of(run, criterion(max_clips=12))
    assert len(held_out.training) == len(held_out.sides.gallery) == 12
    assert len(held_out.sides.queries) == 12
    assert len(held_out.clips.ids) <= 36
    index = ClipStore.open(store).index()
    gallery = held_out.clips.ids[held_out.sides.gallery.numpy()]
    queries = held_out.clips.ids[held_out.sides.queries.numpy()]
    assert set(index.camera[gallery]) == {2, 3}
    assert set(index.camera[queries]) == {1}
    assert np.array_equal(held_out.sides.gallery_labels.numpy(), index.label[gallery])
    assert np.array_equal(held_out.sides.query_labels.numpy(), index.label[queries])
    # Every action is shown by about as many clips as its share.
    assert np.unique(index.label[gallery]).tolist() == np.unique(index.label).tolist()
    assert 0 < held_out.measure(backbone_of(run))["knn_top1"] <= 1


def test_features_that_are_not_finite_are_refused(store):
    run = run_of(store)
    backbone = backbone_of(run)
    next(backbone.parameters()).data.fill_(torch.nan)
    with pytest.raises(ValueError, match="not finite"):
        HeldOut.of(run, criterion("uniformity")).measure(backbone)
    assert backbone.training


def test_a_side_of_few_clips_is_refused(store):
    few = "+data.protocols.few={train:{camera:[2],subject:[1],label:[0]},test:rest}"
    with pytest.raises(UserError, match="needs at least 8"):
        HeldOut.of(run_of(store, few, "data.protocol=few"), criterion("uniformity"))


def test_every_class_gives_the_same_share_and_at_least_one_clip():
    labels = np.array([0] * 60 + [1] * 30 + [2] + [-1] * 9)
    labels = np.random.default_rng(0).permutation(labels)
    ids = np.arange(100)
    chosen = first_of_each_class(ids, labels, 31)
    assert np.array_equal(np.bincount(labels[chosen]), [20, 10, 1])
    for label in (0, 1):
        of_class = ids[labels == label]
        assert np.array_equal(chosen[labels[chosen] == label], of_class[: (20, 10)[label]])
    assert np.array_equal(first_of_each_class(ids, labels, 1000), ids[labels >= 0])
    some = first_of_each_class(ids[::2], labels, 1000)
    assert np.array_equal(some, [number for number in ids[::2] if labels[number] >= 0])
    assert not len(first_of_each_class(ids, np.full(100, -1), 5))
