"""What compared runs differ in, and by which figure they are compared."""

from pipeline.tables.compared import (
    ComparedRun,
    better,
    by_group,
    chosen_figure,
    differing,
    figure_names,
    label,
)
from pipeline.tables.page_data import short_names


def run(name: str, parameters: dict, **figures: float) -> ComparedRun:
    return ComparedRun(name, name, name, 0, "finished", parameters, figures)


def test_what_only_says_where_a_run_lies_does_not_differ():
    runs = [
        run("a", {"name": "a", "seed": 0, "output": "/a", "tracking.uri": "x", "train.lr": 1}),
        run("b", {"name": "b", "seed": 1, "output": "/b", "tracking.uri": "y", "train.lr": 1}),
    ]
    assert differing(runs) == []


def test_a_parameter_that_a_run_lacks_differs():
    runs = [run("a", {"lr": 1, "width": 8}), run("b", {"lr": 1}), run("c", {"lr": 1, "width": 8})]
    assert differing(runs) == ["width"]
    # To have no value is another thing than the value None.
    assert differing([run("a", {"lr": None}), run("b", {})]) == ["lr"]
    # A number and its text are two values: 1 is not "1".
    assert differing([run("a", {"lr": 1}), run("b", {"lr": "1"})]) == ["lr"]


def test_figures_that_matter_come_first_and_others_are_no_figures():
    runs = [run("a", {}, zeta=1.0, loss=2.0, linear_top1=0.5), run("b", {}, seconds=3)]
    runs.append(ComparedRun("c", "c", "c", 0, "failed", {}, {"probe": "p", "bad": float("nan")}))
    assert figure_names(runs) == ["linear_top1", "loss", "seconds", "zeta"]


def test_the_figure_that_is_chosen():
    runs = [run("a", {}, loss=2.0, linear_top1=0.5, gflops=1.0)]
    assert chosen_figure(runs) == "linear_top1"
    assert chosen_figure(runs, "loss") == "loss"
    # One that no run has, or that is a cost, is not.
    assert chosen_figure(runs, "knn_top1") == "linear_top1"
    assert chosen_figure([run("a", {}, gflops=1.0)]) is None
    held_out = run("b", {}, **{"linear_top1": 0.5, "held_out/linear_top1": 0.4})
    assert chosen_figure([held_out]) == "held_out/linear_top1"


def test_what_is_good():
    good = {name: better(name) for name in ("linear_top1", "loss", "loss/view", "gflops")}
    assert good == {"linear_top1": "max", "loss": "min", "loss/view": "min", "gflops": "min"}
    assert better("held_out/uniformity") == "min" and better("held_out/knn_top1") == "max"


def test_labels():
    assert label("held_out/linear_top1") == "held out: linear"
    assert label("random_knn_top1") == "at the start: 1-NN"
    assert label("effective_rank") == "effective rank" and label("val/acc") == "val/acc"


def test_groups_keep_their_order():
    runs = [run("b", {}), run("a", {}), run("b", {})]
    assert [(name, len(members)) for name, members in by_group(runs).items()] == [
        ("b", 2),
        ("a", 1),
    ]


def test_short_names_are_unique():
    keys = ["train.optimiser.lr", "objective.view.weight", "objective.late.weight", "seed"]
    assert list(short_names(keys).values()) == ["lr", "view.weight", "late.weight", "seed"]
    # One key that ends another one keeps its whole name.
    assert short_names(["lr", "train.lr"]) == {"lr": "lr", "train.lr": "train.lr"}
