"""Evaluation over a real store on a real Ray: features are those of the clip, in any company."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch.nn.functional import batch_norm, normalize

from models.probes import LinearProbe, linear_evaluation
from models.retrieval import retrieval
from pipeline.config.compose import Request
from pipeline.config.root import Config
from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.encoder.export import load_encoder
from pipeline.evaluate import stage
from pipeline.evaluate.alone import evaluate_alone
from pipeline.evaluate.features import extract
from pipeline.evaluate.protocols import Protocols
from pipeline.evaluate.stage import evaluate
from pipeline.evaluate.tasks import measure
from pipeline.runs import files
from pipeline.runs.directory import RunDirectory
from pipeline.runs.resolved import ResolvedRun, resolve
from pipeline.store.clip_store import ClipStore
from pipeline.store.splits import Split
from tests.helpers.encoders import export_both, small_config, split_of
from tests.helpers.here import encode_here
from tests.helpers.stores import ACTIONS, ROWS, SHARDS, write_store


class Tracker:
    """Takes what the stage tells MLflow."""

    def __init__(self):
        self.datasets = []

    def dataset(self, store, context):
        self.datasets.append((store.uri, context))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("evaluate")


@pytest.fixture(scope="module")
def config(place) -> Config:
    config = small_config(place)
    write_store(config.store, config)
    return config


@pytest.fixture(scope="module")
def store(config) -> ClipStore:
    return ClipStore.open(config.store)


@pytest.fixture(scope="module")
def encoders(place, config) -> dict[str, str]:
    """Exports that no evaluation touches: the stage has its own."""
    return export_both(place, config)


@pytest.fixture(scope="module")
def one_worker(config) -> Config:
    """The same run with one actor: starting an actor takes seconds of the CPUs."""
    cluster = config.cluster.model_copy(update={"workers": 1})
    return config.model_copy(update={"cluster": cluster})


@pytest.fixture
def no_actors(monkeypatch):
    """Evaluate without actors, where they are not the point."""
    encode_here(monkeypatch)


def run_of(config: Config) -> ResolvedRun:
    return resolve(config, Request(), RunDirectory(config.output))


@pytest.fixture(scope="module")
def by_cameras(store) -> Split:
    return split_of(store, {"train": {"camera": [1, 2]}, "test": {"camera": [3]}})


@pytest.fixture(scope="module")
def features(ray_session, store, by_cameras, encoders, config):
    """By two actors in batches of 17."""
    return extract(store, by_cameras, encoders, config.cluster, batch_size=17).features


def test_features_are_those_of_each_clip_alone(features, store, by_cameras, encoders):
    ids = by_cameras.ids
    assert ids.tolist() == list(range(SHARDS * ROWS))
    for name, uri in encoders.items():
        backbone, prepare = load_encoder(uri)
        for row in (0, 1, 39, 40, 77, 119):
            alone = backbone.features(prepare([store.clip(int(ids[row]))]))
            torch.testing.assert_close(
                torch.from_numpy(features[name][row]), alone[0], rtol=1e-4, atol=1e-5
            )
    assert not np.allclose(features["encoder"], features["random"], atol=0.1)


def test_features_do_not_depend_on_the_number_of_actors(features, evaluated, encoders):
    again = evaluated.extracted
    assert again.keys() == features.keys() == encoders.keys()
    for name in encoders:
        np.testing.assert_array_equal(features[name], again[name])


def test_only_the_clips_of_the_protocol_are_read(features, store, encoders, config):
    split = split_of(
        store,
        {"train": {"camera": [1], "subject": [1, 2]}, "test": {"camera": [2], "subject": [1, 4]}},
    )
    ids = split.ids
    assert 0 < len(ids) < 40
    assert not np.isin(3, split.index.camera[ids])
    random_start = {"random": encoders["random"]}
    some = extract(store, split, random_start, config.cluster, batch_size=64).features
    np.testing.assert_allclose(some["random"], features["random"][ids], rtol=1e-4, atol=1e-5)
    train, test = split.rows(some["random"])
    np.testing.assert_array_equal(train, some["random"][np.isin(ids, split.train)])
    assert len(test) == len(split.test) and set(split.index.subject[split.test]) == {1, 4}


def test_a_damaged_shard_is_one_line(ray_session, encoders, one_worker, tmp_path):
    store = ClipStore.open(write_store(str(tmp_path / "store"), one_worker))
    split = split_of(store, {"train": {"camera": [1, 2]}, "test": {"camera": [3]}})
    place = tmp_path / "store" / "shard-00001.parquet"
    data = place.read_bytes()
    place.write_bytes(
        data[: len(data) // 2] + bytes(len(data) - len(data) // 2)
    )  # of the size that the manifest says
    with pytest.raises(
        UserError, match=r"^features: .*shard-00001.parquet: row group 0 cannot be read"
    ) as caught:
        extract(store, split, {"random": encoders["random"]}, one_worker.cluster, batch_size=64)
    assert "\n" not in str(caught.value)


@dataclass
class Evaluated:
    """A run, what its evaluation returned and told MLflow, and the features that actors gave it."""

    run: ResolvedRun
    results: dict[str, Any]
    tracker: Tracker
    extracted: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def evaluated(ray_session, one_worker, place) -> Evaluated:
    """An evaluation by one actor in batches of 17."""
    export_both(f"{place}/run", one_worker)
    run = run_of(one_worker)
    tracker = Tracker()
    extracted = {}

    def keep(*arguments):
        found = extract(*arguments)
        # The stage normalises the features of the random start later.
        extracted.update(found.features)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "extract", keep)
        results = evaluate(run, tracker)
    return Evaluated(run, results, tracker, extracted)


def test_the_stage_measures_the_encoder_and_its_random_start(
    evaluated, features, config, by_cameras, encoders, place
):
    run, results, tracker = evaluated.run, evaluated.results, evaluated.tracker
    assert tracker.datasets == [(config.store, "evaluation")]
    assert results["train_clips"] == len(by_cameras.train) and results["test_clips"] == len(
        by_cameras.test
    )
    assert (results["probe"], results["protocol"]) == ("standardised_adamw", "cross_view")
    assert (results["classes"], results["feature_width"]) == (ACTIONS, 32)

    assert not {"test_copies", "linear_top1_unseen"} & results.keys()  # no clip is there twice
    assert results["parameters"] == sum(
        w.numel() for w in load_encoder(encoders["encoder"])[0].parameters()
    )
    assert 0 < results["parameters"] < results["pretraining_parameters"]
    assert (
        0 < results["gflops"] < results["pretraining_gflops"] / 3
    )  # five passes, forward and backward

    # The figures are those of the probes on the same features, each encoder under its own name.
    labels = torch.from_numpy(by_cameras.train_labels), torch.from_numpy(by_cameras.test_labels)
    probe = LinearProbe(**config.evaluate.linear.model_dump())
    for name, prefix in (("encoder", ""), ("random", "random_")):
        train, test = map(torch.from_numpy, by_cameras.rows(features[name]))
        if (
            name == "random"
        ):  # its feature norm has seen no batch: it gets the training side's statistics
            deviation, mean = torch.std_mean(train, dim=0, correction=0)
            train, test = (batch_norm(side, mean, deviation.square()) for side in (train, test))
        linear = linear_evaluation(train, labels[0], test, labels[1], probe, seed=3)
        assert results[f"{prefix}linear_top1"] == linear.accuracy
        assert results[f"{prefix}linear_best_top1"] == linear.best
        nearest = retrieval(train, labels[0], test, labels[1])
        assert results[f"{prefix}knn_top1"] == nearest.accuracy
        for figure, value in (
            ("map", nearest.mean_average_precision),
            ("recall_at_5", nearest.recall(5)),
            ("recall_at_10", nearest.recall(10)),
        ):
            assert results[f"{prefix}retrieval_{figure}"] == pytest.approx(value, abs=1e-5)
        assert linear.accuracy > 0.4  # chance is 0.25: the features are those of the labelled clips

        saved = load_file(f"{place}/run/features/{name}.safetensors")
        if name == "random":  # normed in another order of arithmetic
            np.testing.assert_allclose(saved["train/features"], train, rtol=1e-4, atol=1e-4)
        else:
            np.testing.assert_array_equal(saved["train/features"], train)
        np.testing.assert_array_equal(saved["test/ids"], by_cameras.test)
        assert (saved["test/linear"] == saved["test/labels"]).mean() == linear.accuracy
        assert saved["test/logits"].shape == (len(by_cameras.test), ACTIONS)
        np.testing.assert_array_equal(saved["test/linear"], saved["test/logits"].argmax(1))
        # Whoever loads an export gets the features that were measured.
        backbone, prepare = load_encoder(f"{place}/run/{name}")
        clips = [run.store.clip(int(row)) for row in by_cameras.test]
        loaded = backbone.features(prepare(clips))
        np.testing.assert_allclose(loaded, saved["test/features"], rtol=1e-4, atol=1e-4)
    details = storage.read_json(f"{place}/run/evaluation.json")
    people = details["people"]["encoder"]
    assert set(people) == set(map(str, by_cameras.index.subject[by_cameras.test]))
    clips = [figures["clips"] for figures in people.values()]
    for figure in ("linear_top1", "knn_top1", "retrieval_map"):
        mean = np.average([figures[figure] for figures in people.values()], weights=clips)
        assert results[figure] == pytest.approx(mean)
    assert details["linear"]["encoder"]["test_top1"][-1] == results["linear_top1"]
    assert len(details["linear"]["random"]["train_loss"]) == probe.epochs


def test_a_repeated_evaluation_gives_the_same(evaluated, no_actors, config, place):
    """The statistics that the first one gave to `random/` are not applied twice."""
    paths = [place / "run" / "random" / "model.safetensors"]
    paths += [place / "run" / "features" / f"{name}.safetensors" for name in ("encoder", "random")]
    contents = [path.read_bytes() for path in paths]
    assert evaluate(run_of(config), Tracker()) == evaluated.results
    assert [path.read_bytes() for path in paths] == contents


def test_this_process_alone_gives_the_same(evaluated, config, tmp_path):
    """As the process of a trial evaluates: figures, curves and features, bit for bit."""
    export_both(tmp_path, config)
    alone = config.model_copy(update={"output": str(tmp_path)})
    assert evaluate_alone(run_of(alone)) == evaluated.results
    kept = [files.EVALUATION, "random/model.safetensors"]
    kept += [f"{files.FEATURES}/{name}.safetensors" for name in files.ENCODERS]
    for name in kept:
        assert (tmp_path / name).read_bytes() == Path(config.output, name).read_bytes(), name


def with_copies(row: dict) -> dict:
    """Plant ten clips of camera 3 in the last shard: all but one are exactly those of camera 1."""
    number = int(row["clip_id"].split("-")[2])
    if row["clip_id"].startswith("clip-2-") and number < 20:
        values = (
            np.random.default_rng(number % 10)
            .normal(size=(6, *row["joints"].shape[1:]))
            .astype(np.float32)
        )
        if number == 9:  # all but one number is that of clip 19
            values[3, 0, 0, 0] += 1e-3
        row |= {
            "joints": values,
            "num_frames": 6,
            "camera": 3 if number < 10 else 1,
            "label": number % 4,
        }
    return row


def test_copies_of_training_clips_are_counted_and_left_out_of_a_second_figure(
    ray_session, no_actors, tmp_path
):
    # Both encoders are the same here; with a feature norm the random one would be given statistics.
    settings = [
        "objective=late",
        "model.feature_norm=none",
        "evaluate.linear.epochs=5",
        "evaluate.batch_size=64",
    ]
    late = small_config(tmp_path, *settings)
    write_store(late.store, late, with_copies)
    export_both(f"{tmp_path}/run", late, trained_seed=late.seed)
    results = evaluate(run_of(late), Tracker())
    assert results["test_copies"] == 9
    assert results["feature_width"] == 3 * 32
    saved = load_file(f"{tmp_path}/run/features/encoder.safetensors")
    names = ClipStore.open(late.store).index().clip_id[saved["test/ids"]]
    unseen = ~np.isin(names, [f"clip-2-{number}" for number in range(9)])
    for figure in ("linear", "knn"):
        correct = saved[f"test/{figure}"] == saved["test/labels"]
        assert results[f"{figure}_top1"] == pytest.approx(correct.mean())
        assert (
            results[f"{figure}_top1_unseen"]
            == results[f"random_{figure}_top1_unseen"]
            == correct[unseen].mean()
        )
    precision = saved["test/average_precision"]
    assert results["retrieval_map"] == pytest.approx(precision.mean())
    assert results["retrieval_map_unseen"] == pytest.approx(precision[unseen].mean())
    # Late fusion: each network by itself, its nearest neighbours by the mean of the similarities.
    sides = [
        torch.from_numpy(saved[key])
        for key in ("train/features", "train/labels", "test/features", "test/labels")
    ]
    parts = [slice(0, 32), slice(32, 64), slice(64, 96)]
    scores = sum(
        linear_evaluation(
            *(side[:, part] if side.dim() == 2 else side for side in sides),
            LinearProbe(**late.evaluate.linear.model_dump()),
            late.seed,
        ).logits.softmax(1)
        for part in parts
    )
    np.testing.assert_allclose(np.exp(saved["test/logits"]), scores / 3, rtol=1e-3, atol=1e-5)
    unit = [[normalize(side[:, part], dim=1) for part in parts] for side in (sides[2], sides[0])]
    cosines = [query @ gallery.T for query, gallery in zip(*unit, strict=True)]
    assert saved["test/knn"].tolist() == sides[1][sum(cosines).argmax(1)].tolist()


def test_a_failing_probe_is_one_line(features, config, by_cameras):
    spoilt = {"encoder": features["encoder"] * np.float32(np.nan)}
    probe = LinearProbe(**config.evaluate.linear.model_dump())
    protocols = Protocols(probe=probe, neighbours=1, parts=(slice(None),), seed=3)
    with pytest.raises(
        UserError, match=r"^evaluate: features of the training side are not finite$"
    ):
        measure(spoilt, by_cameras, protocols, config.cluster)
