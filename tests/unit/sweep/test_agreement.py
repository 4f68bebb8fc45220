"""How well figures without labels would have chosen, from the records of a search with labels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pipeline.core import console
from pipeline.sweep.agreement import LEAST_POINTS, agreements, spearman
from pipeline.sweep.points import Point
from pipeline.sweep.trial import Rung, TrialRecord

# Five points: a large value of the first two is good, a small one of the others.
VALUES = {
    "linear_top1": [0.61, 0.70, 0.66, 0.52, 0.58],
    "effective_rank": [180.0, 240.0, 310.0, 150.0, 170.0],
    "alignment": [0.3, 0.3, 0.3, 0.3, 0.3],
    "uniformity": [-1.0, -3.0, -2.0, 0.0, -0.5],
    "alignment_uniformity": [0.0, 3.0, 2.0, -1.0, -2.0],
}


def point(number, rungs, state="finished", seeds=(0,)):
    """A point whose trials have these rungs: epoch -> figures, of each seed."""
    records = {}
    for seed in seeds:
        measured = []
        for epoch, figures in rungs.items():
            shifted = {name: value + 0.001 * seed for name, value in figures.items()}
            measured.append(Rung(epoch=epoch, figures=shifted, time=0.0))
        records[seed] = TrialRecord(
            name=f"point{number:03d}-{seed}",
            group=f"point{number:03d}",
            seed=seed,
            overrides=[],
            params={},
            hash="",
            state=state,
            rungs=measured,
        )
    return Point(number, {}, list(seeds), list(seeds), records)


def figures_of(number):
    return {name: values[number] for name, values in VALUES.items()}


def test_each_figure_is_compared_with_the_criterion():
    points = [point(number, {2: {}, 4: figures_of(number)}) for number in range(5)]
    (found,) = agreements(points, "linear_top1")
    assert (found.points, found.best, found.epoch) == (5, 0.70, None)
    assert found.mean == pytest.approx(0.614)
    rank = found.figures["effective_rank"]
    assert rank.spearman == pytest.approx(0.9) and rank.choice == 0.66
    # The smallest uniformity belongs to the best point, and so on: perfect agreement.
    assert found.figures["uniformity"].spearman == pytest.approx(1)
    assert found.figures["uniformity"].choice == 0.70
    assert found.figures["alignment_uniformity"].spearman == pytest.approx(-0.9)
    assert found.figures["alignment_uniformity"].choice == 0.58
    # All points have the same alignment: no correlation, and the first is its choice.
    assert found.figures["alignment"].spearman is None
    summary = found.summary()
    assert summary["agreement_points"] == 5
    assert summary["agreement_best_linear_top1"] == 0.70
    assert summary["agreement_effective_rank_spearman"] == pytest.approx(0.9)
    assert summary["agreement_effective_rank_choice_linear_top1"] == 0.66
    assert "agreement_alignment_spearman" not in summary


def test_means_over_seeds_are_compared_and_unfinished_points_are_not():
    points = [point(number, {4: figures_of(number)}, seeds=(0, 2)) for number in range(5)]
    points.append(point(5, {4: figures_of(0)}, state="failed"))
    points.append(point(6, {4: figures_of(0)}, state="open"))
    (found,) = agreements(points, "linear_top1")
    assert found.points == 5 and found.best == pytest.approx(0.701)


def test_points_that_were_stopped_are_compared_at_their_first_rung():
    points = []
    for number in range(5):
        rungs = {2: figures_of(number)}
        if number < 2:
            rungs[4] = figures_of(number)
        points.append(point(number, rungs, "finished" if number < 2 else "stopped"))
    # One collapsed before anything was measured.
    points.append(point(5, {}, "stopped"))
    (found,) = agreements(points, "linear_top1")
    assert (found.epoch, found.points) == (2, 5)
    summary = found.summary()
    assert summary["early_agreement_epoch"] == 2
    assert summary["early_agreement_effective_rank_spearman"] == pytest.approx(0.9)


def test_few_points_and_a_criterion_without_labels_have_no_agreement():
    points = [point(number, {4: figures_of(number)}) for number in range(5)]
    assert agreements(points[: LEAST_POINTS - 1], "linear_top1") == []
    assert agreements(points, "effective_rank") == []
    assert agreements([], "knn_top1") == []
    assert agreements([point(0, {}, "stopped")], "linear_top1") == []


def test_the_table_names_best_and_mean(capsys, monkeypatch):
    monkeypatch.setattr(console.console, "width", 140)
    points = [point(number, {4: figures_of(number)}) for number in range(5)]
    agreements(points, "linear_top1")[0].show()
    shown = capsys.readouterr().out
    assert "5 finished points; linear, held out: best 70.0 %, mean 61.4 %" in shown
    assert "0.90" in shown and "66.0 %" in shown and "effective rank" in shown


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=12))
def test_spearman_against_scipy(pairs):
    first, second = (np.array(side, float) for side in zip(*pairs, strict=True))
    found = spearman(first, second)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        assert found is None
    else:
        assert found == pytest.approx(stats.spearmanr(first, second).statistic)
