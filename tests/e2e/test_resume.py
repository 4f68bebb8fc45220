"""A run that is killed inside an epoch and started again ends with the weights of an unbroken one.

The same of the loop alone, for every option that has a state: tests/unit/pretrain/test_loop.py.
"""

import json
import signal
import time

import pytest
from safetensors.torch import load_file

from tests.helpers.cli import MAIN_JOB, finish, run, start

# The session's main job is the unbroken run, and has this many workers.
MAIN_JOB_WORKERS = 2


def training(main_job, output, workers, *settings):
    """The arguments that train and evaluate as the main job did, on its clip store.

    The evaluation belongs to it: it writes statistics of features into the random encoder.
    """
    resources = ["cluster.cpus_per_worker=0.4", f"cluster.workers={workers}"]
    places = [f"data.store={main_job}/store", f"output={output}"]
    return [*MAIN_JOB, "stages=[pretrain,evaluate]", *resources, *places, *settings]


def stop_after_first_checkpoint(
    arguments, checkpoints, how, session_ray, meanwhile=lambda process: None
):
    """Start a run and send it a signal inside an epoch; returns the ended process.

    Before the signal this calls `meanwhile`.
    """
    process = start(*arguments, ray=session_ray)
    deadline = time.monotonic() + 240
    while not list(checkpoints.glob("attempt-*/step-*/meta.json")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "no checkpoint came"
        time.sleep(0.01)
    meanwhile(process)
    process.send_signal(how)
    return finish(process, timeout=60)


@pytest.mark.parametrize(
    "workers",
    [
        MAIN_JOB_WORKERS,
        pytest.param(1, marks=pytest.mark.slow),
        pytest.param(3, marks=pytest.mark.slow),
    ],
)
def test_killed_and_resumed_equals_unbroken_bit_for_bit(tmp_path, main_job, session_ray, workers):
    whole = main_job
    broken = tmp_path / "broken"
    if workers != MAIN_JOB_WORKERS:
        whole = tmp_path / "unbroken"
        done = run(*training(main_job, whole, workers), ray=session_ray)
        assert done.returncode == 0, done.stderr
    settings = training(main_job, broken, workers)
    stop_after_first_checkpoint(settings, broken / "checkpoints", signal.SIGKILL, session_ray)

    metas = [json.loads(meta.read_text()) for meta in broken.glob("checkpoints/*/*/meta.json")]
    assert any(meta["step"] for meta in metas), "not killed inside an epoch"
    assert not (broken / "encoder").exists(), "killed too late"
    resumed = run(*settings, ray=session_ray)
    assert resumed.returncode == 0, resumed.stderr
    assert "going on from step-" in resumed.stdout
    assert "output: taken over from process" in resumed.stdout

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


def test_an_interrupted_run_says_so_and_is_not_a_success(tmp_path, main_job, session_ray):
    """Meanwhile a second process wants the same output, and is refused."""
    output = tmp_path / "run"
    settings = training(main_job, output, 1, "train.epochs=400")
    checkpoints = output / "checkpoints"

    def begin_a_second(first):
        owner = json.loads((output / "owner.json").read_text())
        assert owner["pid"] == first.pid
        assert [path.name for path in checkpoints.iterdir()] == [owner["attempt"]]
        started = time.monotonic()
        second = run(*settings, "seed=7", "fresh=true")
        assert second.returncode == 2 and time.monotonic() - started < 5
        (line,) = second.stderr.splitlines()
        assert line.startswith(f"error: output={output}: process {first.pid} on {owner['host']}")
        # The first goes on as if nothing had happened.
        assert first.poll() is None
        assert json.loads((output / "owner.json").read_text()) == owner
        assert [path.name for path in tmp_path.iterdir()] == ["run"]
        assert [path.name for path in checkpoints.iterdir()] == [owner["attempt"]]
        assert list(checkpoints.glob("*/step-*"))

    done = stop_after_first_checkpoint(
        settings, checkpoints, signal.SIGINT, session_ray, begin_a_second
    )
    assert not (output / "owner.json").exists()
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "interrupted; the same command goes on from here"
