"""Runs the command line as a user does: a process of its own, with a Ray of its own."""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.helpers.paths import ROOT

# One tracking database for all runs whose own is not what a test is about: MLflow takes seconds to make one.
_TRACKING = Path(tempfile.mkdtemp(prefix="skelfuse-tests-"))
atexit.register(shutil.rmtree, _TRACKING, ignore_errors=True)
TRACKING = f"sqlite:///{_TRACKING}/mlflow.db"

# The main job, as small as it can be while everything in it still happens.
TINY = [
    *("data.synthetic.actions=4", "data.synthetic.subjects=4", "data.synthetic.replications=2"),
    *("data.protocols.xsub.train.subject=[1,2]", "data.files_per_shard=24"),
    *(
        "model.frames=16",
        "model.width=32",
        "model.heads=2",
        "model.feedforward=32",
        "views.min_frames=8",
    ),
    *("train.epochs=2", "train.batch_size=16", "train.log_every=2", "evaluate.linear.epochs=10"),
    *("cluster.object_store_gb=0.3",),
]


def command(*overrides: str) -> list[str]:
    return [sys.executable, str(ROOT / "pipeline" / "run.py"), *overrides]


def environment(**extra: str) -> dict[str, str]:
    """The tests' environment without what would steer a run from outside."""
    steering = (
        "RAY_ADDRESS",
        "MLFLOW_TRACKING_URI",
        "SKELFUSE_STORAGE",
        "RAY_JOB_CONFIG_JSON_ENV_VAR",
    )
    kept = {key: value for key, value in os.environ.items() if key not in steering}
    return kept | {"PYTHONPATH": str(ROOT)} | extra


def run(
    *overrides: str, cwd: Path | None = None, timeout: float = 300
) -> subprocess.CompletedProcess:
    """Run to the end, tracked in TRACKING unless told otherwise; output as text. The caller checks the exit code."""
    variables = environment(MLFLOW_TRACKING_URI=TRACKING)
    return subprocess.run(
        command(*overrides),
        env=variables,
        cwd=cwd,
        timeout=timeout,
        capture_output=True,
        text=True,
        check=False,
    )
