"""The main job through `ray job submit`, on a real head with token authentication."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from tests.helpers.cli import ROOT, TINY, environment, finish
from tests.helpers.ports import free_ports

BIN = Path(sys.executable).parent


class Head:
    """A Ray head started in this checkout, and job submission to it."""

    def __init__(self, scratch: Path):
        token = scratch / "auth_token"
        self.env = environment(
            RAY_AUTH_MODE="token",
            RAY_AUTH_TOKEN_PATH=str(token),
            PATH=f"{BIN}{os.pathsep}{os.environ['PATH']}",
        )
        # As in production the project comes from the checkout (or the uploaded copy), not from the
        # tests' path.
        self.env.pop("PYTHONPATH")
        token.write_text(secrets.token_hex(32))
        gcs, self.port, client, agent = free_ports(4)
        start = [
            "start",
            "--head",
            "--block",
            f"--port={gcs}",
            f"--dashboard-port={self.port}",
            # Two jobs run at once, and wait for processes more than they compute.
            "--num-cpus=4",
        ]
        # Another Ray on this machine, the tests' own for one, has the agent's usual port.
        start += [f"--dashboard-agent-listen-port={agent}"]
        start += [
            f"--ray-client-server-port={client}",
            "--object-store-memory=300000000",
            f"--temp-dir={scratch}/r",
        ]
        self.log = (scratch / "head.log").open("w")
        self.process = subprocess.Popen(
            [BIN / "ray", *start],
            cwd=ROOT,
            env=self.env,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )
        self.address = f"http://127.0.0.1:{self.port}"
        self._wait()

    def _wait(self):
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.address}/api/version", timeout=5)
            except urllib.error.HTTPError as error:
                assert error.code in (401, 403), error  # It answers, and asks for the token.
                return
            except OSError:
                time.sleep(0.5)
            else:
                pytest.fail("the head answers without a token")
        pytest.fail(f"no head: {Path(self.log.name).read_text()[-2000:]}")

    def submit(self, *arguments, env=None):
        """Start `ray job submit`, which ends with the job; `finish` waits for it."""
        return subprocess.Popen(
            [BIN / "ray", "job", "submit", "--address", self.address, *arguments],
            env=env or self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.log.close()


@pytest.fixture(scope="module")
def jobs(tmp_path_factory, empty_database):
    """Every job of this file, run at once: most of a job's time is waiting for processes.

    Returns:
        The finished submissions by name, and the directory with an output of each.
    """
    outputs = tmp_path_factory.mktemp("jobs")
    # How the workers share the work is not the point here.
    main_job = ["python", "pipeline/run.py", *TINY, "cluster.workers=1"]
    directory = ["--working-dir", str(ROOT)]
    # MLflow takes seconds to make its tables: one of the jobs finds them, the other has none.
    database = shutil.copy(empty_database, outputs / "uploaded.db")
    uploaded = [f"output={outputs}/uploaded", f"tracking.uri=sqlite:///{database}"]
    # The other job draws the figures.
    uploaded.append("stages=[ingest,pretrain,evaluate]")
    # Two trials at once, which take the room that the job's other stages have left.
    trials = shutil.copy(empty_database, outputs / "sweep.db")
    sweep = ["stages=[ingest,sweep]", "sweep=loss_weights", "sweep.trials=2"]
    sweep += ["sweep.criterion.every_epochs=1", "sweep.scheduler.grace_epochs=1"]
    sweep += [f"output={outputs}/sweep", f"tracking.uri=sqlite:///{trials}"]
    # A short name: Ray's sockets lie deep in it.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        head = Head(Path(scratch))
        try:
            without_token = {k: v for k, v in head.env.items() if not k.startswith("RAY_AUTH")}
            without_token["HOME"] = "/nonexistent"
            submitted = {
                "installed": head.submit("--", *main_job, f"output={outputs}/installed"),
                "uploaded": head.submit(*directory, "--", *main_job, *uploaded),
                "sweep": head.submit("--", *main_job, *sweep),
                "lost": head.submit(*directory, "--", *main_job, "output=results"),
                "no token": head.submit("--", "true", env=without_token),
            }
            finished = {name: finish(process, 500) for name, process in submitted.items()}
        finally:
            head.stop()
    return finished, outputs


def check_results(output: Path, database: Path, code_version: str):
    summary = json.loads((output / "summary.json").read_text())
    assert summary["clips"] == 4 * 4 * 2 * 3 and 0 <= summary["linear_top1"] <= 1
    assert (output / "encoder" / "model.safetensors").is_file()
    run = MlflowClient(f"sqlite:///{database}").get_run(summary["mlflow_run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["linear/top1"] == summary["linear_top1"]
    assert run.data.tags["code.version"].startswith(code_version)


def test_submitted_in_an_installed_checkout(jobs):
    finished, outputs = jobs
    job = finished["installed"]
    assert job.returncode == 0, job.stdout + job.stderr
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True
    )
    output = outputs / "installed"
    check_results(output, output / "mlflow.db", commit.stdout.strip())
    assert list((output / "figures").glob("*.png"))


def test_submitted_with_its_working_directory(jobs):
    finished, outputs = jobs
    job = finished["uploaded"]
    assert job.returncode == 0, job.stdout + job.stderr
    # The uploaded copy holds no git: the code is known by its hash.
    check_results(outputs / "uploaded", outputs / "uploaded.db", "sha256:")


def test_a_submitted_sweep_runs_its_trials_in_the_job(jobs):
    finished, outputs = jobs
    job = finished["sweep"]
    assert job.returncode == 0, job.stdout + job.stderr
    output = outputs / "sweep"
    for name in ("point000-0", "point001-0"):
        record = json.loads((output / name / "trial.json").read_text())
        assert record["state"] in ("finished", "stopped")
        assert (output / name / "metrics.jsonl").is_file()
    summary = json.loads((output / "summary.json").read_text())
    assert summary["trials"] == 2 and summary["best"].startswith("point")
    assert (output / "best" / "experiment" / "best.yaml").is_file()
    assert (output / "comparison.html").is_file()
    client = MlflowClient(f"sqlite:///{outputs}/sweep.db")
    parent = client.get_run(summary["mlflow_run_id"])
    assert parent.data.tags["sweep.best_name"] == f"{summary['best']}-0"


def test_results_that_would_be_lost_are_refused(jobs):
    job = jobs[0]["lost"]
    assert job.returncode != 0
    assert "output=results: relative to the job's temporary directory" in job.stdout + job.stderr
    assert "exit code 2" in job.stdout + job.stderr


def test_without_the_token_nothing_is_taken(jobs):
    job = jobs[0]["no token"]
    assert job.returncode != 0
    assert "token" in (job.stdout + job.stderr).lower()
