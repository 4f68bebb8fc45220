"""The protocols give what the probes of `models` give, and files hold it."""

import numpy as np
import pytest
import torch
from safetensors.numpy import load

from models.probes import LinearProbe, linear_evaluation
from models.retrieval import retrieval
from pipeline.evaluate.protocols import Protocols, measure_encoder
from pipeline.evaluate.saved import features_file


@pytest.fixture
def protocols(config) -> Protocols:
    recipe = config.evaluate.linear.model_dump() | {"epochs": 3}
    probe = LinearProbe(**recipe)
    return Protocols(probe=probe, neighbours=3, parts=(slice(0, 4), slice(4, 8)), seed=5)


def made_up(split) -> np.ndarray:
    """Features [N, 8] of `split.ids` that tell something about the labels."""
    noise = np.random.default_rng(0).normal(size=(len(split.ids), 8))
    return (noise + split.index.label[split.ids, None]).astype(np.float32)


def measured(features, split, protocols):
    labels = (split.train_labels, split.test_labels)
    threads = torch.get_num_threads()
    return measure_encoder(split.rows(features), labels, protocols, threads, "cpu")


def test_a_measurement_is_that_of_the_probes(by_cameras, protocols):
    features = made_up(by_cameras)
    measurement = measured(features, by_cameras, protocols)
    train, test = (torch.from_numpy(side) for side in by_cameras.rows(features))
    train_labels = torch.from_numpy(by_cameras.train_labels)
    test_labels = torch.from_numpy(by_cameras.test_labels)
    sides = (train, train_labels, test, test_labels)
    linear = linear_evaluation(*sides, probe=protocols.probe, seed=5, parts=protocols.parts)
    knn = retrieval(*sides, neighbours=3, parts=protocols.parts)
    assert measurement.linear.top1 == linear.accuracy
    assert measurement.linear.best_top1 == linear.best
    assert measurement.linear.test_accuracy == linear.test_accuracy
    assert measurement.linear.train_loss == linear.train_loss
    np.testing.assert_array_equal(measurement.linear.logits, linear.logits)
    np.testing.assert_array_equal(measurement.linear.predictions, linear.predictions)
    assert measurement.knn.top1 == knn.accuracy
    np.testing.assert_array_equal(measurement.knn.predictions, knn.predictions)
    np.testing.assert_array_equal(measurement.knn.average_precision, knn.average_precision)
    assert measurement.knn.mean_average_precision == pytest.approx(knn.mean_average_precision)
    assert measurement.knn.recalls == {5: knn.recall(5), 10: knn.recall(10)}


def test_a_recall_beyond_the_training_side_is_left_out(by_cameras, protocols):
    features = made_up(by_cameras)
    some = np.random.default_rng(0).permutation(len(by_cameras.train))[:7]
    sides = by_cameras.rows(features)
    labels = (by_cameras.train_labels, by_cameras.test_labels)
    # The test side is the training side, so that no action is missing.
    few = (sides[0][some], sides[0][some])
    measurement = measure_encoder(few, (labels[0][some], labels[0][some]), protocols, 1, "cpu")
    assert measurement.knn.recalls == {5: 1.0}


def test_features_that_are_not_finite_are_refused(by_cameras, protocols):
    features = made_up(by_cameras)
    features[0] = np.nan
    with pytest.raises(ValueError, match=r"features of the training side are not finite"):
        measured(features, by_cameras, protocols)


def test_a_file_holds_both_sides_and_what_was_measured(by_cameras, protocols):
    features = made_up(by_cameras)
    measurement = measured(features, by_cameras, protocols)
    saved = load(features_file(features, by_cameras, measurement))
    train, test = by_cameras.rows(features)
    expected = {
        "train/ids": by_cameras.train,
        "train/labels": by_cameras.train_labels,
        "train/features": train,
        "test/ids": by_cameras.test,
        "test/labels": by_cameras.test_labels,
        "test/features": test,
        "test/logits": measurement.linear.logits,
        "test/linear": measurement.linear.predictions,
        "test/knn": measurement.knn.predictions,
        "test/average_precision": measurement.knn.average_precision,
    }
    assert saved.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(saved[name], values)
