"""Which parameters matter, as far as runs can tell."""

from dataclasses import replace

from pipeline.tables.importance import FEWEST, importance
from tests.helpers.comparisons import searched

FIGURE = "held_out/linear_top1"


def test_what_decides_the_figure_is_found():
    runs = searched(40, curve_points=4)
    known = importance(runs, FIGURE)
    assert known.bars[0][0] == "train.optimiser.lr"
    means = {key: mean for key, mean, _ in known.bars}
    assert means["train.optimiser.lr"] > 5 * abs(means["objective.view.weight"])
    assert 0.3 < known.explained <= 1
    assert known.groups == sum(run.state == "finished" for run in runs)
    assert importance(runs, FIGURE) == known


def test_seeds_of_a_group_count_once():
    runs = searched(20, seeds=3, curve_points=4)
    finished = {run.group for run in runs if run.state == "finished"}
    assert importance(runs, FIGURE).groups == len(finished)


def test_there_is_none_where_nothing_can_be_learned():
    finished = [run for run in searched(40, curve_points=4) if run.state == "finished"]
    assert importance(finished[: FEWEST - 1], FIGURE) is None
    assert importance(finished[:FEWEST], FIGURE) is not None
    assert importance(finished, "absent") is None
    same = [replace(run, parameters={"lr": 1}) for run in finished]
    assert importance(same, FIGURE) is None
    constant = [replace(run, figures={FIGURE: 0.5}) for run in finished]
    assert importance(constant, FIGURE) is None


def test_parameters_may_be_texts_lists_and_missing():
    runs = []
    for number, run in enumerate(searched(30, curve_points=4)):
        parameters = {"list": [number % 3, 1], "text": "ab"[number % 2], "none": None}
        if number % 4 == 0:
            parameters["some"] = 1
        runs.append(replace(run, state="finished", parameters=parameters, figures={"loss": number}))
    assert {key for key, _, _ in importance(runs, "loss").bars} == {"list", "text", "some"}
