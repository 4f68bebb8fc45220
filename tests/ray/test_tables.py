"""How a table is tracked. Its trials are played; `unit/sweep` tests what is made of them."""

from mlflow.tracking import MlflowClient

from pipeline.runs.tracking import Tracker
from pipeline.runs.tracking.children import Children
from pipeline.sweep.variant_table import VariantTable
from tests.helpers.cli import TRACKING
from tests.helpers.tables import ALL_TRIALS, PlayedTrials, begun, linear, play_trials, table_run


def test_trials_are_children_of_the_tables_run(tmp_path):
    trials = PlayedTrials()
    run = begun(table_run(tmp_path), trials)
    with Tracker(run.config, run.directory) as tracker:
        table = VariantTable(run)
        with Children(tracker) as children:
            play_trials(run, table, trials, children)
        table.finish(tracker)

    client = MlflowClient(TRACKING)
    name = run.config.tracking.experiment
    (experiment,) = [e for e in client.search_experiments() if e.name == name]
    found = client.search_runs(
        [experiment.experiment_id], f"tags.`mlflow.parentRunId` = '{tracker.run_id}'"
    )
    assert sorted(child.info.run_name for child in found) == sorted(ALL_TRIALS)
    assert {child.info.status for child in found} == {"FINISHED"}
    by_name = {child.info.run_name: child for child in found}
    late = by_name["late-1"].data
    assert late.metrics["linear/top1"] == linear("late", 1)
    assert (late.tags["sweep.group"], late.tags["sweep.state"]) == ("late", "finished")
    artifacts = {file.path for file in client.list_artifacts(tracker.run_id)}
    assert {"table.md", "table.png", "comparison.html"} <= artifacts
