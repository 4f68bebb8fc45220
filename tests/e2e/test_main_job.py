"""The main job end to end, and what it leaves behind."""

import json
import sqlite3
from contextlib import closing
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest
import yaml
from mlflow.tracking import MlflowClient

from tests.helpers.cli import EPOCHS, MAIN_JOB, PLANTED, run

# 4 actions x 4 subjects x 2 replications x 3 cameras, of which camera 1 is the test side of xview.
CLIPS, TEST_CLIPS = 96, 32


@pytest.fixture(scope="module")
def summary(main_job):
    return json.loads((main_job / "summary.json").read_text())


def test_the_summary_says_what_was_done_and_measured(main_job, summary):
    assert (summary["clips"], summary["rejected"]) == (CLIPS, 0)
    assert (summary["train_clips"], summary["test_clips"]) == (CLIPS - TEST_CLIPS, TEST_CLIPS)
    assert summary["epochs"] == EPOCHS
    assert summary["probe"] == "standardised_adamw"
    assert summary["seed"] == 0
    for key in (
        "linear_top1",
        "knn_top1",
        "retrieval_recall_at_5",
        "random_linear_top1",
        "random_knn_top1",
        "random_retrieval_recall_at_5",
    ):
        # An accuracy is a whole number of test clips.
        assert summary[key] * TEST_CLIPS == pytest.approx(
            round(summary[key] * TEST_CLIPS), abs=1e-4
        )
    assert 0 < summary["retrieval_map"] < 1 and 0 < summary["random_retrieval_map"] < 1
    assert summary["parameters"] > 0 and summary["gflops"] > 0 and summary["clips_per_second"] > 0
    assert (main_job / "checkpoints").is_dir() and summary["checkpoint"].startswith(str(main_job))


def test_the_console_ends_with_what_happened_and_where_things_are(main_job):
    shown = (main_job.parent / "stdout").read_text()
    for stage in ("ingest", "pretrain", "evaluate", "report"):
        assert f"{stage}: done in" in shown
    assert str(main_job / "summary.json") in shown and "mlflow ui --backend-store-uri" in shown
    # Quiet: none of Ray's or MLflow's own lines.
    assert not [
        line
        for line in shown.splitlines()
        if "INFO" in line or "WARNING" in line or "(pid=" in line
    ]


def test_the_store_holds_every_clip_once(main_job):
    manifest = json.loads((main_job / "store" / "manifest.json").read_text())
    table = pq.read_table(sorted((main_job / "store").glob("*.parquet")), columns=["clip_id"])
    assert manifest["clips"] == len(table) == len(set(table["clip_id"].to_pylist())) == CLIPS
    assert manifest["protocols"]["xview"] == {"train": CLIPS - TEST_CLIPS, "test": TEST_CLIPS}


def test_mlflow_holds_the_run(main_job, summary):
    client = MlflowClient(f"sqlite:///{main_job}/mlflow.db")
    (experiment,) = [e for e in client.search_experiments() if e.name == "skelfuse"]
    (found,) = client.search_runs([experiment.experiment_id])  # One run: the workers opened none.
    assert found.info.run_id == summary["mlflow_run_id"] and found.info.status == "FINISHED"
    assert found.data.params["objective.alignment.temperature"] == "0.1"
    assert found.data.metrics["linear/top1"] == summary["linear_top1"]
    assert found.data.metrics["random_knn/top1"] == summary["random_knn_top1"]
    assert found.data.metrics["retrieval/map"] == summary["retrieval_map"]
    recall = found.data.metrics["random_retrieval/recall_at_5"]
    assert recall == summary["random_retrieval_recall_at_5"]
    assert (
        found.data.tags["store.fingerprint"]
        and found.data.tags["code.version"]
        and found.data.tags["ray.version"]
    )
    steps = [
        metric.step for metric in client.get_metric_history(found.info.run_id, "loss/decomposition")
    ]
    rows = [json.loads(line) for line in (main_job / "metrics.jsonl").read_text().splitlines()]
    assert steps == [row["step"] for row in rows] and steps[-1] == EPOCHS * 4
    (entry,) = {(i.dataset.name, i.dataset.digest) for i in found.inputs.dataset_inputs}
    assert entry[1] == found.data.tags["store.fingerprint"][:36]
    assert client.list_artifacts(found.info.run_id)


def test_no_secret_of_the_environment_is_left(main_job):
    """In no file, not on the console, not in the database, as it is or percent-encoded."""
    left = {}
    for path in main_job.parent.rglob("*"):
        if path.is_file():
            left[str(path)] = path.read_bytes()
    # A long value lies in several pages of a database.
    with closing(sqlite3.connect(main_job / "mlflow.db")) as connection:
        left["the database"] = "\n".join(connection.iterdump()).encode()
    assert any(name.endswith("meta.json") for name in left)
    assert any("mlartifacts" in name for name in left)
    assert str(main_job.parent / "stderr") in left
    for secret in PLANTED.values():
        for written in (secret, quote(secret, safe="")):
            found = [name for name, data in left.items() if written.encode() in data]
            assert found == []


def test_started_again_it_skips_what_is_finished(main_job, summary):
    again = run(*MAIN_JOB, "tracking.uri=null", f"output={main_job}")
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("done before, skipped") == 4
    assert json.loads((main_job / "summary.json").read_text()) == summary


def test_other_settings_in_the_same_output_are_refused(main_job):
    refused = run(*MAIN_JOB, "train.epochs=3", f"output={main_job}")
    assert refused.returncode == 2
    assert (
        refused.stderr.count("\n") == 1
        and f"train.epochs ({EPOCHS} there, 3 now)" in refused.stderr
    )


@pytest.mark.slow
def test_the_seed_decides_the_figures(main_job, tmp_path):
    def figures(output):
        rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
        found = json.loads((output / "summary.json").read_text())
        return [row["loss"] for row in rows], {
            key: value for key, value in found.items() if key.endswith("_top1")
        }

    for seed in (0, 1):
        done = run(
            *MAIN_JOB,
            f"seed={seed}",
            "stages=[ingest,pretrain,evaluate]",
            f"output={tmp_path / str(seed)}",
        )
        assert done.returncode == 0, done.stderr
    assert figures(tmp_path / "0") == figures(main_job)
    assert figures(tmp_path / "1")[0] != figures(main_job)[0]


def test_the_saved_configuration_is_the_resolved_one(main_job):
    saved = yaml.safe_load((main_job / "config.yaml").read_text())
    assert saved["train"]["epochs"] == EPOCHS and saved["output"] == str(main_job)
    assert saved["tracking"]["uri"] == f"sqlite:///{main_job}/mlflow.db"
