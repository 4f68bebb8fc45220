"""Figures of the summary, curves and the console's table from made-up measurements."""

import numpy as np
import pytest

from pipeline.core import console
from pipeline.evaluate.knn import KnnMeasurement
from pipeline.evaluate.linear import LinearMeasurement
from pipeline.evaluate.protocols import Measurement
from pipeline.evaluate.results import Evaluation
from pipeline.evaluate.table import show

COST = {
    "parameters": 1_234_000,
    "gflops": 0.25,
    "pretraining_parameters": 5_000_000,
    "pretraining_gflops": 3.5,
}


def measurement(labels, linear_right: int, knn_right: int) -> Measurement:
    """The first clips are predicted right, the others wrong."""
    count = len(labels)
    linear = np.where(np.arange(count) < linear_right, labels, labels + 1)
    knn = np.where(np.arange(count) < knn_right, labels, labels + 1)
    return Measurement(
        linear=LinearMeasurement(
            top1=linear_right / count,
            best_top1=1.0,
            test_accuracy=[1.0, linear_right / count],
            train_loss=[2.0, 1.0],
            logits=np.zeros((count, 4), np.float32),
            predictions=linear,
        ),
        knn=KnnMeasurement(top1=knn_right / count, predictions=knn),
    )


@pytest.fixture
def evaluation_of(by_cameras):
    def make(copies: int) -> Evaluation:
        """The first so many test clips are copies."""
        labels = by_cameras.test_labels
        return Evaluation(
            protocol="cross_view",
            probe="a_probe",
            neighbours=1,
            split=by_cameras,
            copies=np.arange(len(labels)) < copies,
            cost=COST,
            feature_width=32,
            measurements={
                "encoder": measurement(labels, 31, 21),
                "random": measurement(labels, 11, 12),
            },
        )

    return make


def test_the_summary_has_both_encoders_and_the_cost(evaluation_of, by_cameras):
    tests = len(by_cameras.test)
    assert evaluation_of(0).summary() == {
        "probe": "a_probe",
        "protocol": "cross_view",
        "train_clips": len(by_cameras.train),
        "test_clips": tests,
        "classes": 4,
        "feature_width": 32,
        **COST,
        "linear_top1": 31 / tests,
        "linear_best_top1": 1.0,
        "knn_top1": 21 / tests,
        "random_linear_top1": 11 / tests,
        "random_linear_best_top1": 1.0,
        "random_knn_top1": 12 / tests,
    }


def test_copies_bring_second_figures(evaluation_of, by_cameras):
    tests = len(by_cameras.test)
    before = evaluation_of(0).summary()
    summary = evaluation_of(10).summary()
    added = {name: summary[name] for name in summary.keys() - before.keys()}
    assert added == {
        "test_copies": 10,
        "linear_top1_unseen": 21 / (tests - 10),
        "knn_top1_unseen": 11 / (tests - 10),
        "random_linear_top1_unseen": 1 / (tests - 10),
        "random_knn_top1_unseen": 2 / (tests - 10),
    }
    everything = evaluation_of(tests).summary()
    assert everything["test_copies"] == tests
    assert "linear_top1_unseen" not in everything


def test_curves_are_the_linear_probe_s(evaluation_of):
    curves = evaluation_of(0).curves()
    assert curves["probe"] == "a_probe"
    assert list(curves["linear"]) == ["encoder", "random"]
    assert curves["linear"]["random"]["train_loss"] == [2.0, 1.0]
    assert curves["linear"]["encoder"]["test_top1"][0] == 1.0


def test_the_console_shows_a_row_an_encoder(evaluation_of, by_cameras):
    with console.console.capture() as capture:
        show(evaluation_of(10))
    lines = capture.get().splitlines()
    tests = len(by_cameras.test)
    assert lines[0].startswith(f"cross_view: {len(by_cameras.train)} training and {tests} test")
    assert "linear unseen" in lines[-4]
    assert "1-NN unseen" in lines[-4]
    assert lines[-3].split()[:3] == ["encoder", f"{100 * 31 / tests:.1f}", "%"]
    assert lines[-3].split()[-3:] == ["M", "0.25", "3.5"]
    assert lines[-2].split()[-1] == "0"
    assert lines[-1].startswith("  10 test clips are exact copies")
    with console.console.capture() as capture:
        show(evaluation_of(0))
    assert "unseen" not in capture.get()
