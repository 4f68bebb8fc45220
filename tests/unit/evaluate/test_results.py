"""Figures of the summary, curves and the console's table from made-up measurements."""

from dataclasses import replace

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
        knn=KnnMeasurement(
            top1=knn_right / count,
            predictions=knn,
            average_precision=precisions(count),
            recalls={5: 0.75},
        ),
    )


def precisions(count: int) -> np.ndarray:
    """Made-up precisions of so many clips."""
    return np.arange(count) % 5 / 4


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
        "retrieval_map": precisions(tests).mean(),
        "random_retrieval_map": precisions(tests).mean(),
        # No measurement has a recall at 10.
        "retrieval_recall_at_5": 0.75,
        "random_retrieval_recall_at_5": 0.75,
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
        "retrieval_map_unseen": precisions(tests)[10:].mean(),
        "random_retrieval_map_unseen": precisions(tests)[10:].mean(),
    }
    everything = evaluation_of(tests).summary()
    assert everything["test_copies"] == tests
    assert "linear_top1_unseen" not in everything


def test_curves_are_the_linear_probe_s(evaluation_of):
    curves = evaluation_of(0).details()
    assert curves["probe"] == "a_probe"
    assert list(curves["linear"]) == ["encoder", "random"]
    assert curves["linear"]["random"]["train_loss"] == [2.0, 1.0]
    assert curves["linear"]["encoder"]["test_top1"][0] == 1.0


def test_each_person_has_the_means_of_its_own_test_clips(evaluation_of, by_cameras):
    evaluation = evaluation_of(0)
    people = evaluation.details()["people"]
    subjects = by_cameras.index.subject[by_cameras.test]
    assert list(people) == ["encoder", "random"]
    assert list(people["encoder"]) == [str(subject) for subject in sorted(set(subjects))]
    for encoder, right in (("encoder", (31, 21)), ("random", (11, 12))):
        for subject, figures in people[encoder].items():
            clips = [clip for clip, person in enumerate(subjects) if person == int(subject)]
            assert figures == {
                "clips": len(clips),
                "linear_top1": pytest.approx(np.mean([clip < right[0] for clip in clips])),
                "knn_top1": pytest.approx(np.mean([clip < right[1] for clip in clips])),
                "retrieval_map": pytest.approx(np.mean([clip % 5 / 4 for clip in clips])),
            }
    # The figures of all clips are the means over people, weighted by their clips.
    weights = [figures["clips"] for figures in people["encoder"].values()]
    for name in ("linear_top1", "knn_top1", "retrieval_map"):
        values = [figures[name] for figures in people["encoder"].values()]
        mean = np.average(values, weights=weights)
        assert evaluation.summary()[name] == pytest.approx(mean)


def test_clips_of_unknown_people_belong_to_nobody(evaluation_of, by_cameras):
    subject = by_cameras.index.subject.copy()
    one = subject[by_cameras.test[0]]
    subject[subject != one] = -1
    index = replace(by_cameras.index, subject=subject)
    evaluation = evaluation_of(0)
    some = replace(evaluation, split=replace(by_cameras, index=index)).details()["people"]
    assert some["encoder"] == {str(one): evaluation.details()["people"]["encoder"][str(one)]}
    index = replace(by_cameras.index, subject=np.full_like(subject, -1))
    nobody = replace(evaluation, split=replace(by_cameras, index=index)).details()["people"]
    assert nobody == {"encoder": {}, "random": {}}


def test_the_console_shows_a_row_an_encoder(evaluation_of, by_cameras):
    with console.console.capture() as capture:
        show(evaluation_of(10))
    lines = capture.get().splitlines()
    tests = len(by_cameras.test)
    assert lines[0].startswith(f"cross_view: {len(by_cameras.train)} training and {tests} test")
    # The headings of the figures without copies take two lines.
    assert lines[-5].split() == ["linear", "1-NN"]
    assert lines[-4].split()[:5] == ["linear", "1-NN", "mAP", "unseen", "unseen"]
    assert lines[-3].split()[:3] == ["encoder", f"{100 * 31 / tests:.1f}", "%"]
    assert f"{100 * precisions(tests).mean():.1f}" in lines[-3].split()
    assert lines[-3].split()[-3:] == ["M", "0.25", "3.5"]
    assert lines[-2].split()[-1] == "0"
    assert lines[-1].startswith("  10 test clips are exact copies")
    with console.console.capture() as capture:
        show(evaluation_of(0))
    assert "unseen" not in capture.get()
