"""Which runs confirm the winner of a search, and what comes out of them."""

from pathlib import Path

import pytest

from pipeline.runs.metric_names import COSTS
from pipeline.sweep.confirmation import Confirmation, fresh_seeds
from pipeline.sweep.points import Point
from tests.helpers.searches import CHOOSING, TWO_KEYS, record_of, search_run

PARAMS = {"views.shear": 0.5, "train.optimiser.weight_decay": 1e-3}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    words = ("sweep.seeds=[0,2]", "sweep.confirm=2", "sweep.trials=4")
    return search_run(tmp_path_factory.mktemp("search"), *TWO_KEYS, *words)


def confirmation(sweep, choosing=CHOOSING, records=(), params=PARAMS):
    return Confirmation(sweep, Point(3, params, [0, 2]), choosing, records)


def trials_of(source):
    return list(iter(source.next_trial, None))


def measured(trial, **figures):
    """The record of a finished trial whose probe had a share of the clips right."""
    return record_of(trial, "finished", figures=dict.fromkeys(COSTS, 1) | figures)


def test_both_are_run_with_new_seeds_first_on_the_people_held_out(sweep):
    source = confirmation(sweep)
    assert source.total == 8
    trials = trials_of(source)
    assert [trial.name for trial in trials] == [
        *("held_out_default-1", "held_out_best-1", "held_out_default-3", "held_out_best-3"),
        *("default-1", "best-1", "default-3", "best-3"),
    ]
    for trial in trials:
        config = trial.config
        assert config.stages == ["pretrain", "evaluate"] and config.seed in (1, 3)
        is_held_out = trial.group.startswith("held_out")
        wanted = "held_out" if is_held_out else sweep.config.data.protocol
        assert config.data.protocol == wanted
        is_best = trial.group.endswith("best")
        assert config.views.shear == (0.5 if is_best else sweep.config.views.shear)


def test_a_criterion_without_labels_has_nobody_held_out(sweep):
    names = [trial.name for trial in trials_of(confirmation(sweep, choosing=[]))]
    assert names == ["default-1", "best-1", "default-3", "best-3"]


def test_what_is_finished_is_not_run_again(sweep):
    trials = trials_of(confirmation(sweep))
    records = [
        measured(trials[0]),
        record_of(trials[1], "stopped", reason="collapsed"),
        record_of(trials[2], "open"),
        record_of(trials[3], "failed"),
    ]
    names = [trial.name for trial in trials_of(confirmation(sweep, records=records))]
    assert names == [trial.name for trial in trials[2:]]


def test_another_winner_is_confirmed_anew(sweep):
    records = [measured(trial) for trial in trials_of(confirmation(sweep))]
    assert confirmation(sweep, records=records).total == 0
    other = confirmation(sweep, records=records, params=PARAMS | {"views.shear": 0.25})
    names = [trial.name for trial in trials_of(other)]
    assert names == ["held_out_best-1", "held_out_best-3", "best-1", "best-3"]


def test_the_difference_is_paired_by_seed(sweep, capsys):
    source = confirmation(sweep)
    accuracy = {"default-1": 0.5, "best-1": 0.75, "default-3": 0.25, "best-3": 0.75}
    for trial in trials_of(source):
        value = accuracy[trial.name.removeprefix("held_out_")]
        source.ended(measured(trial, linear_top1=value, knn_top1=value))
    results = source.finish()
    assert results["confirmed_best_linear_top1"] == 0.75
    assert results["confirmed_default_linear_top1"] == 0.375
    assert results["confirmed_best_linear_top1_difference"] == 0.375
    assert results["confirmed_held_out_best_knn_top1"] == 0.75
    shown = capsys.readouterr().out
    assert "the winner on the people held out" in shown and "the winner on the test side" in shown
    page = Path(sweep.config.output, "confirmed.md").read_text()
    assert "`views.shear=0.5, train.optimiser.weight_decay=0.001`" in page
    assert page.index("## On the people held out") < page.index("## On the test side")
    assert "+37.5 ± 17.7" in page


def test_a_trial_that_came_to_no_end_is_named(sweep, capsys):
    source = confirmation(sweep, choosing=[])
    trials = trials_of(source)
    for trial in trials[:3]:
        source.ended(measured(trial, linear_top1=0.5))
    source.ended(record_of(trials[3], "stopped", reason="collapsed at step 8"))
    results = source.finish()
    assert results["confirmed_best_linear_top1"] == 0.5
    assert "best-3: not in the table (stopped: collapsed at step 8)" in capsys.readouterr().out
    assert "best-3: not in the table" in Path(sweep.config.output, "confirmed.md").read_text()
    assert not any("held_out" in key for key in results)


def test_nothing_finished_is_no_table(sweep):
    source = confirmation(sweep)
    for trial in trials_of(source):
        source.ended(record_of(trial, "failed", reason="lost"))
    assert source.finish() == {}


def test_new_seeds_are_none_of_the_search():
    assert fresh_seeds([0, 1, 2], 3) == [3, 4, 5]
    assert fresh_seeds([1, 2**31 - 1], 2) == [0, 2]
    assert fresh_seeds([0], 0) == []
