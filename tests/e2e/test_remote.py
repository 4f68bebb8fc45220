"""The main job with its output on object storage: a local server that speaks S3."""

import json
import urllib.request

import pytest
from moto.server import ThreadedMotoServer

from pipeline.cluster.session import ENDPOINT
from pipeline.core import storage
from tests.helpers.cli import TINY, run
from tests.helpers.ports import free_ports

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@pytest.fixture
def endpoint(monkeypatch):
    (port,) = free_ports(1)
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    address = f"http://127.0.0.1:{port}"
    urllib.request.urlopen(urllib.request.Request(f"{address}/bucket", method="PUT")).close()
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    yield address
    server.stop()


@pytest.mark.slow
def test_a_run_can_leave_everything_on_object_storage(endpoint, tmp_path, monkeypatch):
    job = [
        *TINY,
        "output=s3://bucket/runs/tiny",
        f"tracking.uri=sqlite:///{tmp_path}/mlflow.db",
        f"cluster.storage_endpoint={endpoint}",
    ]
    done = run(*job, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    monkeypatch.setenv(ENDPOINT, endpoint)
    summary = json.loads(storage.read_bytes("s3://bucket/runs/tiny/summary.json"))
    assert summary["clips"] == 96 and summary["checkpoint"].startswith(
        "s3://bucket/runs/tiny/checkpoints/"
    )
    for part in (
        "store/manifest.json",
        "encoder/model.safetensors",
        "figures/losses.png",
        "metrics.jsonl",
    ):
        assert storage.exists(f"s3://bucket/runs/tiny/{part}"), part
    assert {path.name for path in tmp_path.iterdir()} <= {
        "mlflow.db",
        "mlartifacts",
    }  # nothing lies elsewhere

    again = run(*job, cwd=tmp_path)
    assert again.returncode == 0 and again.stdout.count("done before, skipped") == 4, again.stderr
