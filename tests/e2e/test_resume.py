"""A run that is killed inside an epoch and started again ends with the weights of an unbroken one.

The same of the loop alone, for every option that has a state: tests/unit/pretrain/test_loop.py.
"""

import json
import signal
import time

import pytest
from safetensors.torch import load_file

from tests.helpers.cli import TINY, finish, run, start

SETTINGS = [
    *TINY,
    "train.epochs=4",
    "model.dropout=0.1",
    "train.checkpoint.every_steps=3",
    "cluster.cpus_per_worker=0.4",
]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, session_ray):
    """Output of a run of one worker that nobody disturbed; others take its clip store."""
    output = tmp_path_factory.mktemp("unbroken") / "run"
    settings = [*SETTINGS, "stages=[ingest,pretrain]", "cluster.workers=1", f"output={output}"]
    done = run(*settings, ray=session_ray)
    assert done.returncode == 0, done.stderr
    return output


def pretraining(unbroken, output, *settings):
    store = unbroken / "store"
    return [*SETTINGS, "stages=[pretrain]", f"data.store={store}", f"output={output}", *settings]


def stop_after_first_checkpoint(arguments, checkpoints, how, session_ray):
    """Start a run and send it a signal inside an epoch; returns the ended process."""
    process = start(*arguments, ray=session_ray)
    deadline = time.monotonic() + 240
    while not list(checkpoints.glob("attempt-*/step-*/meta.json")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "no checkpoint came"
        time.sleep(0.01)
    process.send_signal(how)
    return finish(process, timeout=60)


@pytest.mark.parametrize("workers", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_killed_and_resumed_equals_unbroken_bit_for_bit(tmp_path, unbroken, session_ray, workers):
    whole, broken = unbroken, tmp_path / "broken"
    if workers > 1:
        whole = tmp_path / "unbroken"
        done = run(*pretraining(unbroken, whole, f"cluster.workers={workers}"), ray=session_ray)
        assert done.returncode == 0, done.stderr
    settings = pretraining(unbroken, broken, f"cluster.workers={workers}")
    stop_after_first_checkpoint(settings, broken / "checkpoints", signal.SIGKILL, session_ray)

    metas = [json.loads(meta.read_text()) for meta in broken.glob("checkpoints/*/*/meta.json")]
    assert any(meta["step"] for meta in metas), "not killed inside an epoch"
    assert not (broken / "encoder").exists(), "killed too late"
    resumed = run(*settings, ray=session_ray)
    assert resumed.returncode == 0, resumed.stderr
    assert "going on from step-" in resumed.stdout

    for encoder in ("random", "encoder"):
        expected, found = (
            load_file(output / encoder / "model.safetensors") for output in (whole, broken)
        )
        assert expected.keys() == found.keys()
        assert [key for key in expected if not expected[key].equal(found[key])] == []
    histories = [
        [
            (row["step"], row["loss"])
            for row in map(json.loads, (output / "metrics.jsonl").read_text().splitlines())
        ]
        for output in (whole, broken)
    ]
    assert histories[0][-1] == histories[1][-1]
    assert [step for step, _ in histories[1]] == [step for step, _ in histories[0]]


def test_an_interrupted_run_says_so_and_is_not_a_success(tmp_path, unbroken, session_ray):
    settings = pretraining(unbroken, tmp_path / "run", "train.epochs=400")
    checkpoints = tmp_path / "run" / "checkpoints"
    done = stop_after_first_checkpoint(settings, checkpoints, signal.SIGINT, session_ray)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "interrupted; the same command goes on from here"
