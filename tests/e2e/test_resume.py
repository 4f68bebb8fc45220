"""A run that is killed in the middle of an epoch and started again ends with the weights of an unbroken one."""

import json
import signal
import subprocess
import time

import pytest
from safetensors.torch import load_file

from tests.helpers.cli import TINY, TRACKING, command, environment, run

SETTINGS = [
    *TINY,
    "stages=[pretrain]",
    "train.epochs=4",
    "model.dropout=0.1",
    "train.checkpoint.every_steps=3",
    "cluster.cpus_per_worker=0.4",
]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    output = tmp_path_factory.mktemp("ingest")
    done = run(*TINY, "stages=[ingest]", f"output={output / 'run'}")
    assert done.returncode == 0, done.stderr
    return output / "run" / "store"


def stop_after_first_checkpoint(arguments, checkpoints, how):
    """Start a run and send it a signal inside an epoch; returns the ended process."""
    process = subprocess.Popen(
        command(*arguments),
        env=environment(MLFLOW_TRACKING_URI=TRACKING),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 240
    while not list(checkpoints.glob("attempt-*/step-*/meta.json")):
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline, "no checkpoint came"
        time.sleep(0.01)
    process.send_signal(how)
    process.wait(60)
    return process


@pytest.mark.parametrize("workers", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_killed_and_resumed_equals_unbroken_bit_for_bit(tmp_path, store, workers):
    settings = [*SETTINGS, f"data.store={store}", f"cluster.workers={workers}"]
    unbroken = run(*settings, f"output={tmp_path / 'unbroken'}")
    assert unbroken.returncode == 0, unbroken.stderr
    broken = [*settings, f"output={tmp_path / 'broken'}"]
    stop_after_first_checkpoint(broken, tmp_path / "broken" / "checkpoints", signal.SIGKILL)

    metas = [
        json.loads(meta.read_text())
        for meta in (tmp_path / "broken").glob("checkpoints/*/*/meta.json")
    ]
    assert any(meta["step"] for meta in metas), "not killed inside an epoch"
    assert not (tmp_path / "broken" / "encoder").exists(), "killed too late"
    resumed = run(*broken)
    assert resumed.returncode == 0, resumed.stderr
    assert "going on from step-" in resumed.stdout

    for encoder in ("random", "encoder"):
        expected, found = (
            load_file(tmp_path / name / encoder / "model.safetensors")
            for name in ("unbroken", "broken")
        )
        assert expected.keys() == found.keys()
        assert [key for key in expected if not expected[key].equal(found[key])] == []
    histories = [
        [
            (row["step"], row["loss"])
            for row in map(json.loads, (tmp_path / name / "metrics.jsonl").read_text().splitlines())
        ]
        for name in ("unbroken", "broken")
    ]
    assert histories[0][-1] == histories[1][-1]
    assert [step for step, _ in histories[1]] == [step for step, _ in histories[0]]


def test_an_interrupted_run_says_so_and_is_not_a_success(tmp_path, store):
    settings = [*SETTINGS, f"data.store={store}", "train.epochs=400", f"output={tmp_path / 'run'}"]
    process = stop_after_first_checkpoint(settings, tmp_path / "run" / "checkpoints", signal.SIGINT)
    assert process.returncode == 1
    assert (
        process.stderr.read().decode().splitlines()[-1]
        == "interrupted; the same command goes on from here"
    )
