"""Runs that MLflow holds, as runs of a comparison."""

from dataclasses import replace

from pipeline.compare.found import compared_runs, stages_of, value_of
from pipeline.runs.metric_names import (
    ACCURACIES,
    from_mlflow,
    in_mlflow,
    is_accuracy,
    random_start,
)
from pipeline.runs.tracking.search import FoundRun

SERVER = "http://host:5000/"


def found(run_id: str, name: str = "a", *, is_ours: bool = True, **changes) -> FoundRun:
    plain = FoundRun(
        run_id=run_id,
        name=name,
        experiment_id="7",
        status="FINISHED",
        parent=None,
        seconds=12.34,
        is_ours=is_ours,
    )
    return replace(plain, **changes)


def test_values_are_read_from_texts():
    texts = {"True": True, "None": None, "3": 3, "0.10": 0.1, "1e-3": 0.001, "late": "late"}
    for text, value in texts.items():
        assert value_of(text) == value and type(value_of(text)) is type(value)
    assert value_of("[0, 1]") == "[0, 1]"


def test_seeds_of_the_same_settings_are_a_group():
    runs = [
        found("1", "full-0", params={"seed": "0", "name": "full-0", "lr": "0.1"}),
        found("2", "full-1", params={"seed": "1", "name": "full-1", "lr": "0.1"}),
        found("3", "full-0", params={"seed": "0", "name": "full-0", "lr": "0.2"}),
        found("4", "theirs", is_ours=False),
        found("5", "theirs", is_ours=False),
    ]
    compared = compared_runs(runs, uri=SERVER, place="/out")
    assert [run.group for run in compared] == [
        "full",
        "full",
        "full (3)",
        "theirs (4)",
        "theirs (5)",
    ]
    assert [run.name for run in compared][:3] == ["full-0 (1)", "full-1", "full-0 (3)"]
    assert [run.seed for run in compared] == [0, 1, 0, None, None]


def test_trials_have_the_groups_and_states_of_their_sweep():
    tags = {"sweep.group": "point003", "sweep.state": "stopped", "sweep.reason": "by the scheduler"}
    runs = [
        found("1", "point003-0", parent="a", tags=tags, params={"lr": "1"}, status="RUNNING"),
        found("2", "point003-0", parent="b", tags=tags, params={"lr": "1"}),
        found("3", status="RUNNING"),
        found("4", status="KILLED"),
    ]
    compared = compared_runs(runs, uri=SERVER, place="/out")
    assert [run.state for run in compared] == ["stopped", "stopped", "open", "failed"]
    # The same name in another sweep is another group.
    assert [run.group for run in compared][:2] == ["point003", "point003 (2)"]
    assert compared[0].notes == "by the scheduler"


def test_our_figures_have_their_names_back_and_others_keep_theirs():
    metrics = {"linear/top1": 0.5, "held_out/linear_top1": 0.4, "epoch": 3, "system/cpu": 9}
    ours, theirs = compared_runs(
        [found("1", metrics=metrics), found("2", metrics=metrics, is_ours=False)],
        uri=SERVER,
        place="/out",
    )
    assert ours.figures == {"linear_top1": 0.5, "held_out/linear_top1": 0.4, "seconds": 12.3}
    assert "linear/top1" in theirs.figures


def test_names_come_back_from_mlflow_as_they_were():
    for name in ACCURACIES:
        for figure in (name, random_start(name), f"retrieval_view_{name}_std"):
            assert is_accuracy(figure)
            assert from_mlflow(in_mlflow(figure)) == figure
    assert in_mlflow("random_retrieval_map_unseen") == "random_retrieval/map_unseen"
    assert in_mlflow("retrieval_recall_at_10") == "retrieval/recall_at_10"
    assert in_mlflow("linear_top1_unseen") == "linear/top1_unseen"
    for other in ("gflops", "retrieval_gflops", "collapse/alignment"):
        assert in_mlflow(other) == other and not is_accuracy(other)


def test_links_lead_to_the_server_or_to_the_output(tmp_path):
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "report.html").touch()
    run = found("1", artifacts=["report.html"], tags={"run.output": str(tmp_path / "a b")})
    place = str(tmp_path / "comparison")

    def link(of: FoundRun, uri: str) -> str | None:
        (compared,) = compared_runs([of], uri=uri, place=place)
        return compared.link

    page = "http://host:5000/#/experiments/7/runs/1"
    assert link(run, SERVER) == f"{page}/artifacts/report.html"
    assert link(found("1"), SERVER) == page
    assert link(run, "sqlite:////x.db") == "../a%20b/report.html"
    # Another program's tags are not believed, and a report that is gone is not linked.
    assert link(replace(run, is_ours=False), "sqlite:////x.db") is None
    (tmp_path / "a b" / "report.html").unlink()
    assert link(run, "sqlite:////x.db") is None


def test_stages_are_read():
    assert list(stages_of(found("1", params={"stages": "['ingest', 'sweep']"}))) == [
        "ingest",
        "sweep",
    ]
    assert "sweep" not in stages_of(found("1"))
