"""The page of a comparison and its console table; test_comparison_page.py opens it in a browser."""

import json
import re
from dataclasses import replace

import pytest

from pipeline.core.console import console
from pipeline.core.shown_text import one_line
from pipeline.tables.compared import ComparedRun
from pipeline.tables.comparison import page, print_comparison, write_comparison
from pipeline.tables.page_data import MOST_POINTS, page_data, safe_link, to_script
from tests.helpers import hostile
from tests.helpers.comparisons import searched

FIGURE = "held_out/linear_top1"
SECRET = "http://me:swordfish@host"


def data_of(text: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(found[1])


def named(name: str) -> ComparedRun:
    """A run that has this name wherever a run has a text."""
    return ComparedRun(
        id=name,
        name=name,
        group=name,
        seed=0,
        state=name,
        parameters={name: name, "model.width": [name]},
        figures={name: 0.5, "loss": 1.0},
        curves={name: [(0, 1.0)]},
        link=name,
        notes=name,
    )


@pytest.mark.parametrize("name", hostile.ALL)
def test_names_stay_texts(name):
    runs = [named(name), named(f"{name}</script><!--<script>"), named(SECRET)]
    text = page(runs, name, about=name).decode()
    # The page's own three, and nothing that would end one early or begin another.
    assert text.count("</script") == 3 and "swordfish" not in text
    shown = data_of(text)
    assert shown["runs"][0]["name"] == one_line(name)
    head = text[: text.index("<style>")]
    assert "<script" not in head
    assert "default-src 'none'" in head


def test_json_cannot_end_its_element():
    values = {"a": "</script><!--", "b": "&", "\u2028": "é"}
    text = to_script(values)
    assert not re.search("[<>&\u2028]", text)
    assert json.loads(text) == values


@pytest.mark.parametrize(
    ("link", "kept"),
    [
        ("a-0/report.html", True),
        ("../a b/report.html", True),
        ("a/b:c.html", True),
        ("https://host/#/experiments/1/runs/2", True),
        ("javascript:alert(1)", False),
        ("JavaScript:alert(1)", False),
        ("data:text/html,x", False),
        ("java\tscript:alert(1)", False),
        (" javascript:alert(1)", False),
        (None, False),
        ("", False),
    ],
)
def test_links_only_lead_somewhere(link, kept):
    assert (safe_link(link) is not None) == kept


def test_what_the_page_holds():
    runs = searched(12, seeds=2, curve_points=300)
    data = page_data(runs)
    assert data["figure"] == FIGURE and data["metric"] == FIGURE and data["over"] == "gflops"
    columns = {column["key"]: number for number, column in enumerate(data["columns"])}
    differ = [column["key"] for column in data["columns"] if column["differs"]]
    assert differ == [
        "train.optimiser.lr",
        "objective.alignment.temperature",
        "objective.view.weight",
        "model.fusion",
        "model.layers",
    ]
    assert len(data["shared"]) == 90 and data["groups"] == 12
    for run, shown in zip(runs, data["runs"], strict=True):
        value = run.figures.get(FIGURE)
        assert shown["cells"][columns[FIGURE]] == pytest.approx(value)
        assert shown["cells"][columns["model.fusion"]] == run.parameters["model.fusion"]
    # Runs log at the same steps: these are kept once for all finished runs, once for the stopped.
    assert len(data["steps"]) == 2 and max(map(len, data["steps"])) == MOST_POINTS
    first = next(number for number, run in enumerate(runs) if run.state == "finished")
    steps, values = data["curves"]["loss"][str(first)]
    assert data["steps"][steps][0] == 10 and data["steps"][steps][-1] == 3000
    assert values[-1] == pytest.approx(runs[first].curves["loss"][-1][1], rel=1e-4)


def test_figures_may_be_missing_and_no_number():
    bare = ComparedRun("a", "a", "a", None, "open", {})
    assert page_data([bare])["figure"] is None
    odd = replace(
        bare,
        parameters={"nan": float("nan"), "none": None, "on": True, "long": "x" * 1000},
        figures={"loss": float("nan"), "probe": "p", "linear_top1": 0.5},
        curves={"loss": [(0, float("inf")), (1, 0.5)], "empty": []},
    )
    data = page_data([bare, odd])
    cells = dict(zip((c["key"] for c in data["columns"]), data["runs"][1]["cells"], strict=True))
    assert cells["linear_top1"] == 0.5 and cells["none"] == "null" and cells["on"] == "true"
    assert cells["nan"] == "nan" and len(cells["long"]) == 300
    assert data["curves"]["loss"] == {"1": [0, [0.5]]}
    to_script(data)


def test_costs_that_stopped_runs_lack_do_not_differ():
    runs = []
    for run in searched(12, curve_points=4):
        figures = {**run.figures, "gflops": 0.5}
        if run.state != "finished":
            del figures["gflops"]
        runs.append(replace(run, figures=figures))
    # With a cost that is the same for all there is nothing to see.
    assert page_data(runs)["over"] in runs[0].parameters
    # So few have no parameter that is known to be the most important one.
    assert page_data(runs[:6])["over"] in runs[0].parameters


def test_files_are_written_as_asked(tmp_path):
    runs = searched(3, curve_points=3)
    uris = write_comparison(runs, str(tmp_path), "search", forms=["csv"])
    assert [uri.rpartition("/")[2] for uri in uris] == ["comparison.html", "comparison.csv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["comparison.csv", "comparison.html"]


def test_a_stopped_run_comes_after_finished_ones_on_the_console(capsys, monkeypatch):
    monkeypatch.setattr(console, "width", 200)
    finished, other = searched(2, curve_points=3)
    finished = replace(finished, state="finished", figures={"linear_top1": 0.5})
    stopped = replace(other, state="stopped", figures={"linear_top1": 0.6})
    print_comparison([stopped, finished], "search", figure="linear_top1")
    shown = capsys.readouterr().out
    assert shown.index(finished.group) < shown.index(stopped.group)


def test_the_console_shows_the_best_first(capsys, monkeypatch):
    monkeypatch.setattr(console, "width", 200)
    runs = searched(30, seeds=2, curve_points=16)
    print_comparison(runs, "search")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].strip() == "search" and lines[-1].strip() == "and 10 more"
    assert len(lines) == 2 + 20 + 1
    finished = {}
    for run in runs:
        if run.state == "finished":
            finished.setdefault(run.group, []).append(run.figures[FIGURE])
    best = max(finished, key=lambda group: sum(finished[group]) / len(finished[group]))
    assert any(best in line for line in lines[2:4])


def test_the_console_says_what_it_has_no_column_for(capsys):
    runs = [
        ComparedRun(str(n), f"r{n}", f"r{n}", 0, "finished", {f"key{k}": n for k in range(8)})
        for n in range(2)
    ]
    print_comparison(runs, "few")
    assert "8 parameters differ, also: key5, key6, key7" in capsys.readouterr().out
