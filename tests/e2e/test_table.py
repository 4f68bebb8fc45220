"""A table of two variants end to end, as a user runs it."""

import json

import pytest

from pipeline.sweep.records import read_records
from tests.helpers.cli import TINY, run

SWEEP = """
# @package _global_
name: tiny_table
stages: [ingest, sweep]
sweep:
  seeds: [1]
  variants: {full: [], late: [objective=late]}
"""


@pytest.mark.slow
def test_a_table_end_to_end(main_job, tmp_path):
    (tmp_path / "conf" / "sweep").mkdir(parents=True)
    (tmp_path / "conf" / "sweep" / "tiny_table.yaml").write_text(SWEEP.lstrip())
    small = [*TINY, "train.epochs=1", "evaluate.linear.epochs=3", "cluster.workers=1"]
    places = [f"data.store={main_job}/store", f"data.raw={main_job}/raw", f"output={tmp_path}/run"]
    table = (f"--config-dir={tmp_path}/conf", "sweep=tiny_table", *small, *places)
    done = run(*table)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 trials" in done.stdout and "sweep: done in" in done.stdout
    records = {one.name: one for one in read_records(f"{tmp_path}/run/records.jsonl")}
    assert sorted(records) == ["full-1", "late-1"]
    late = records["late-1"].figures
    full = records["full-1"].figures
    assert late["feature_width"] == 3 * full["feature_width"] and late["gflops"] > full["gflops"]
    assert full["random_linear_top1"] > 0 and full["protocol"] == "xview"
    assert full["test_clips"] == 32
    assert records["late-1"].stores == records["full-1"].stores  # one clip store for all
    assert not list((tmp_path / "run").glob("**/manifest.json"))
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["full_linear_top1"] == full["linear_top1"]
    assert summary["late_linear_top1_difference"] == late["linear_top1"] - full["linear_top1"]
    assert "| late | 1 | " in (tmp_path / "run" / "table.md").read_text()

    # The trial is an ordinary run, which is finished.
    trial = json.loads((tmp_path / "run" / "late-1" / "summary.json").read_text())
    assert trial["linear_top1"] == late["linear_top1"]
