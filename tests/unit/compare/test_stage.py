"""The stage `compare` over a database of MLflow: what is written, and what is refused."""

import json
import shutil

import pytest
from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

from pipeline.run import main
from pipeline.runs.tracking.tags import CONFIG_DIGEST

FOREIGN = "<b>theirs</b>"


@pytest.fixture(scope="module")
def store(tmp_path_factory, empty_database) -> MlflowClient:
    """A tracking store with a sweep of two points with two seeds, and a run of another program."""
    database = tmp_path_factory.mktemp("store") / "mlflow.db"
    shutil.copy(empty_database, database)
    client = MlflowClient(f"sqlite:///{database}")
    experiment = client.create_experiment("skelfuse", str(database.parent / "artifacts"))

    def log(name: str, params: dict, metrics: dict, tags: dict) -> str:
        run = client.create_run(experiment, run_name=name, tags=tags).info.run_id
        client.log_batch(
            run,
            [Metric(key, value, 5, 1) for key, value in metrics.items()],
            [Param(key, str(value)) for key, value in params.items()],
        )
        client.set_terminated(run)
        return run

    ours = {CONFIG_DIGEST: "0"}
    parent = log("search", {"stages": "['ingest', 'sweep']"}, {}, ours)
    for point, rate in enumerate((0.1, 0.01)):
        for seed in (0, 1):
            params = {"stages": "['pretrain']", "seed": seed, "train.optimiser.lr": rate}
            metrics = {"loss": 1 + rate, "linear/top1": 0.8 - rate + 0.01 * seed, "gflops": 0.5}
            tags = ours | {"mlflow.parentRunId": parent, "sweep.group": f"point00{point}"}
            log(f"point00{point}-{seed}", params, metrics, tags)
    log(FOREIGN, {"lr": "7"}, {"loss": 2.0}, {})
    return client


@pytest.fixture
def request_of(store, tmp_path, monkeypatch):
    """The command line of a comparison, over a store of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(store.tracking_uri.removeprefix("sqlite:///"), tmp_path / "runs.db")

    def words(*more: str) -> list[str]:
        return ["stages=[compare]", "tracking.uri=sqlite:///runs.db", "output=out", *more]

    return words


def page_of(place) -> dict:
    text = (place / "comparison.html").read_text()
    start = text.index('id="data">') + len('id="data">')
    return json.loads(text[start : text.index("</script>", start)])


def runs_called(path, name: str) -> list:
    client = MlflowClient(f"sqlite:///{path}/runs.db")
    experiment = client.get_experiment_by_name("skelfuse").experiment_id
    return client.search_runs([experiment], f"attributes.run_name = '{name}'")


def test_all_runs_of_an_experiment(request_of, tmp_path, capsys):
    assert main(request_of()) == 0
    data = page_of(tmp_path / "out")
    names = [run["name"] for run in data["runs"]]
    assert names == ["point000-0", "point000-1", "point001-0", "point001-1", FOREIGN]
    assert data["groups"] == 3 and data["figure"] == "linear_top1"
    assert list(data["curves"]) == ["loss"]
    printed = capsys.readouterr().out
    # The best group is on top, and what differs has a column.
    assert printed.index("point001") < printed.index("point000")
    assert "1 sweeps and comparisons left out" in printed and "comparison.html" in printed
    (run,) = runs_called(tmp_path, "out")
    assert run.data.metrics["compared_runs"] == 5 and run.info.status == "FINISHED"
    client = MlflowClient(f"sqlite:///{tmp_path}/runs.db")
    kept = {entry.path for entry in client.list_artifacts(run.info.run_id)}
    assert {"comparison.html", "comparison.csv", "comparison.parquet"} <= kept


def test_it_always_runs_again_and_leaves_itself_out(request_of, tmp_path):
    assert main(request_of()) == 0
    first = (tmp_path / "out" / "comparison.html").read_bytes()
    (tmp_path / "out" / "comparison.html").unlink()
    assert main(request_of()) == 0
    assert (tmp_path / "out" / "comparison.html").read_bytes() == first
    assert len(runs_called(tmp_path, "out")) == 1
    # Other runs in the same directory are another comparison.
    assert main(request_of("compare.filter=metrics.loss < 1.05", "compare.files=[]")) == 0
    assert len(page_of(tmp_path / "out")["runs"]) == 2


def test_the_trials_of_a_sweep(request_of, store, tmp_path):
    parent = store.search_runs(["1"], "attributes.run_name = 'search'")[0].info.run_id
    assert main(request_of(f"compare.sweep={parent}", "compare.figure=loss")) == 0
    data = page_of(tmp_path / "out")
    assert len(data["runs"]) == 4 and data["figure"] == "loss"


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["compare.experiment=absent"], "compare.experiment=absent"),
        (["compare.filter=metrics.loss <"], "compare.filter=metrics.loss <"),
        (["compare.filter=metrics.loss > 100"], "compare.filter=metrics.loss > 100"),
        (["compare.runs=[0123]"], "compare.runs"),
        (["compare.runs=[a,a]"], "each run only once"),
        (["compare.runs=[a]", "compare.sweep=b"], "either single runs, or the sweep"),
        (["compare.sweep=0123"], "compare.sweep"),
        (["compare.figure=speed"], "compare.figure=speed: no run has it; they have linear_top1"),
        (["compare.files=[xlsx]"], "compare.files"),
        (["tracking.uri=sqlite:///absent.db"], "no such database"),
        (["tracking.uri=null"], "tracking.uri: compare needs it"),
        (["stages=[compare,report]"], "compare must be the only stage"),
        (["stages=[report]", "compare.filter=x"], "only the stage compare reads it"),
        (["compare.filter=attributes.run_name = 'search'"], "compare.sweep=ID"),
    ],
)
def test_a_wrong_request_is_one_line_and_writes_nothing(words, part, request_of, tmp_path, capsys):
    assert main(request_of(*words)) == 2
    error = capsys.readouterr().err
    assert part in error and error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs.db"]


def test_a_sweep_among_the_ids_is_refused(request_of, store, capsys):
    runs = store.search_runs(["1"])
    ids = ",".join(run.info.run_id for run in runs)
    assert main(request_of(f"compare.runs=[{ids}]")) == 2
    assert "compare.sweep=ID" in capsys.readouterr().err


def test_a_directory_with_something_else_is_refused(request_of, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("precious")
    assert main(request_of()) == 2
    assert "holds files but no comparison" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_the_directory_of_a_run_is_refused(request_of, tmp_path, capsys):
    assert main(request_of()) == 0
    settings = tmp_path / "out" / "config.yaml"
    other = settings.read_text().replace("- compare", "- pretrain")
    start, end = other.index("compare:"), other.index("tracking:")
    settings.write_text(other[:start] + other[end:])
    assert main(request_of()) == 2
    assert "holds a run; choose another" in capsys.readouterr().err
