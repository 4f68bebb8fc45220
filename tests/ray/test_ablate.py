"""How a table is tracked. Its stages are played; what is made of it is tested in `unit/ablate`."""

from mlflow.tracking import MlflowClient

from pipeline.sweep import stage
from pipeline.runs.directory import RunDirectory
from pipeline.runs.tracking import Tracker
from tests.helpers.ablation import ALL_CELLS, PlayedStages, linear, play, table_run, unbuilt
from tests.helpers.cli import TRACKING


def test_cells_are_children_of_the_tables_run(tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "resolve", unbuilt)
    run = table_run(tmp_path)
    play(run, PlayedStages(), Tracker)

    client = MlflowClient(TRACKING)
    parent = RunDirectory.open(run.config).state.mlflow_run_id
    name = run.config.tracking.experiment
    (experiment,) = [e for e in client.search_experiments() if e.name == name]
    children = client.search_runs(
        [experiment.experiment_id], f"tags.`mlflow.parentRunId` = '{parent}'"
    )
    assert sorted(child.info.run_name for child in children) == sorted(ALL_CELLS)
    assert {child.info.status for child in children} == {"FINISHED"}
    by_name = {child.info.run_name: child for child in children}
    assert by_name["late-1"].data.metrics["linear/top1"] == linear("late", 1)
    artifacts = {file.path for file in client.list_artifacts(parent)}
    assert {"ablation.md", "ablation.png", "ablation.html"} <= artifacts
