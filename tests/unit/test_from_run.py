"""What is wrong with `from_run=RUN_ID` is said in one line, before MLflow is imported."""

import pytest

from pipeline import from_run
from pipeline.config.compose import Request
from pipeline.from_run import without_from_run
from pipeline.run import main

RUN_ID = "0123456789abcdef0123456789abcdef"
NAMED = f"from_run={RUN_ID}"


@pytest.fixture(autouse=True)
def working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([NAMED], "tracking.uri: from_run needs it"),
        ([NAMED, "tracking.uri=null"], "tracking.uri: from_run needs it"),
        ([NAMED, "tracking.uri=sqlite:///gone.db"], "gone.db: no such database"),
        ([NAMED, "tracking.uri=sqlite:///text"], "text: not a sqlite database"),
        ([NAMED, "tracking.uri=http://127.0.0.1:9"], "nobody answers there"),
        ([NAMED, "tracking.uri=http://me:word@h:1"], "tracking.uri"),
        ([NAMED, "tracking.urn=x"], "tracking.urn: no such key; did you mean tracking.uri?"),
        ([NAMED, NAMED], "from_run: is given 2 times"),
        ([NAMED, "experiment=nw_ucla"], "experiment=nw_ucla: from_run brings its own"),
        (["from_run="], "from_run=: not the id of an MLflow run"),
        (["from_run=null"], "tracking.uri: from_run needs it"),
        (["from_run=../../etc"], "from_run=../../etc: not the id of an MLflow run"),
        (["from_run=a' or 1=1 --"], "not the id of an MLflow run"),
        (["from_run=" + "a" * 1000], "not the id of an MLflow run"),
        ([NAMED, "tracking.uri=sqlite:///gone.db", "--print"], "gone.db: no such database"),
        ([NAMED, "tracking.uri=sqlite:///gone.db", "--cfg", "job"], "gone.db: no such database"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_what_is_wrong_is_one_line_and_makes_nothing(words, said, tmp_path, capsys):
    (tmp_path / "text").write_text("no database")
    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1
    assert shown.err.startswith("error: ") and said in shown.err
    assert "word" not in shown.err
    assert [path.name for path in tmp_path.iterdir()] == ["text"]


def test_print_is_for_recorded_runs_alone(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--print", "seed=1"])
    assert ended.value.code == 2
    assert "--print shows the command of from_run=RUN_ID" in capsys.readouterr().err


def test_a_request_without_it_stays_what_it_is(monkeypatch):
    monkeypatch.setattr(from_run, "load", None)
    request = Request(("seed=1", "name=from_run"), "mine")
    assert without_from_run(request) is request
