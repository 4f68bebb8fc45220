"""Runs the command line as a user does: a process of its own, with a Ray of its own unless told."""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.helpers.paths import ROOT

# One tracking database in this process for all runs whose own is not what a test is about; the
# tests of `ray` and `e2e` put an empty one there.
_TRACKING = Path(tempfile.mkdtemp(prefix="skelfuse-tests-"))
atexit.register(shutil.rmtree, _TRACKING, ignore_errors=True)
TRACKING_DATABASE = _TRACKING / "mlflow.db"
TRACKING = f"sqlite:///{TRACKING_DATABASE}"

# The main job, as small as it can be while everything in it still happens.
TINY = [
    "data.synthetic.actions=4",
    "data.synthetic.subjects=4",
    "data.synthetic.replications=2",
    "data.protocols.xsub.train.subject=[1,2]",
    "data.files_per_shard=24",
    "model.frames=16",
    "model.width=32",
    "model.heads=2",
    "model.feedforward=32",
    "views.min_frames=8",
    "train.epochs=2",
    "train.batch_size=16",
    "train.log_every=2",
    "evaluate.linear.epochs=10",
    "cluster.object_store_gb=0.3",
]
# The session's main job (the fixture `main_job`). It is the unbroken run of test_resume.py too,
# which needs a random state, checkpoints inside an epoch, and steps after the first of them.
EPOCHS = 4
MAIN_JOB = [
    *TINY,
    f"train.epochs={EPOCHS}",
    "train.checkpoint.every_steps=3",
    "model.dropout=0.1",
    "cluster.workers=2",
]
# Names the file with the token of the session's Ray.
TOKEN = "SKELFUSE_TESTS_RAY_TOKEN"
# What steers a run from outside.
STEERING = (
    "RAY_ADDRESS",
    "MLFLOW_TRACKING_URI",
    "SKELFUSE_STORAGE",
    "RAY_AUTH_MODE",
    "RAY_AUTH_TOKEN_PATH",
    "RAY_JOB_CONFIG_JSON_ENV_VAR",
)

# Secrets in the environment of every run. A run leaves none of them behind
# (test_no_secret_of_the_environment_is_left).
PLANTED = {
    "AWS_ACCESS_KEY_ID": "AKIAPLANTEDPLANTED01",
    "AWS_SECRET_ACCESS_KEY": "planted/secret+key/01",
    "MLFLOW_TRACKING_PASSWORD": "planted-password-02",
    "MLFLOW_TRACKING_TOKEN": "planted-token-03",
    "PGPASSWORD": "planted-password-04",
    "AZURE_CLIENT_SECRET": "planted-secret-05",
}
# What Jupyter and Colab give to every process that they start.
NOTEBOOK = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}


def command(*overrides: str) -> list[str]:
    return [sys.executable, str(ROOT / "pipeline" / "run.py"), *overrides]


def environment(**extra: str) -> dict[str, str]:
    """The tests' environment without what would steer a run from outside, with secrets in it."""
    kept = {key: value for key, value in os.environ.items() if key not in STEERING}
    return PLANTED | NOTEBOOK | kept | {"PYTHONPATH": str(ROOT)} | extra


def access() -> dict[str, str]:
    """The variables with which a process is let into the session's Ray."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": os.environ[TOKEN]}


def start(
    *overrides: str, cwd: Path | None = None, ray: str | None = None
) -> subprocess.Popen[str]:
    """Start a run, tracked in TRACKING unless told otherwise. `finish` it, or use `run`.

    Args:
        overrides: What a user would type.
        cwd: The working directory, if it is another one.
        ray: Address of the Ray to run on (the fixture `session_ray`); without it the run starts
            and ends its own, which takes seconds.
    """
    variables = environment(MLFLOW_TRACKING_URI=TRACKING)
    if ray is not None:
        overrides = (*overrides, f"cluster.address={ray}")
        variables |= access()
    return subprocess.Popen(
        command(*overrides),
        env=variables,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(
    process: subprocess.Popen[str], timeout: float = 500
) -> subprocess.CompletedProcess[str]:
    """Wait for the end of a process that was started; output as text."""
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def run(
    *overrides: str,
    cwd: Path | None = None,
    timeout: float = 500,
    ray: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run to the end, as `start` does; the caller checks the exit code."""
    return finish(start(*overrides, cwd=cwd, ray=ray), timeout)
