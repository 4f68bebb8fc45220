"""A run that is ended inside an epoch and started again ends with the weights of an unbroken one.

The same of the loop alone, for every option that has a state: tests/unit/pretrain/test_loop.py.
"""

import json
import resource
import signal
import time

import pytest
from mlflow.tracking import MlflowClient
from safetensors.torch import load_file

from tests.helpers.cli import MAIN_JOB, TRACKING, finish, run, start

# The session's main job is the unbroken run, and has this many workers.
MAIN_JOB_WORKERS = 2
# Its `train.checkpoint.every_steps`.
EVERY_STEPS = 3


def training(main_job, output, workers, *settings):
    """The arguments that train and evaluate as the main job did, on its clip store.

    The evaluation belongs to it: it writes statistics of features into the random encoder.
    """
    resources = ["cluster.cpus_per_worker=0.4", f"cluster.workers={workers}"]
    places = [f"data.store={main_job}/store", f"output={output}"]
    return [*MAIN_JOB, "stages=[pretrain,evaluate]", *resources, *places, *settings]


def checkpoints_in(output):
    return set(output.glob("checkpoints/attempt-*/step-*/meta.json"))


def stop_after_next_checkpoint(arguments, output, how, session_ray):
    """Start a run and send it a signal inside an epoch; returns the ended process."""
    before = checkpoints_in(output)
    process = start(*arguments, ray=session_ray)
    deadline = time.monotonic() + 240
    while not checkpoints_in(output) - before:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "no checkpoint came"
        time.sleep(0.01)
    process.send_signal(how)
    return finish(process, timeout=60)


def require_second_is_refused(process, output, arguments, session_ray):
    """Start a second run on the output of a living one, which stays as it is."""
    record = output / "owner.json"
    deadline = time.monotonic() + 120
    while json.loads(record.read_text())["pid"] != process.pid:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "the output was not taken over"
        time.sleep(0.05)
    before = record.read_bytes()
    computed = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    second = run(*arguments, "seed=5", "fresh=true", ray=session_ray)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - computed < 5
    assert second.returncode == 2, second.stdout
    assert f"process {process.pid}" in second.stderr and second.stderr.count("\n") == 1
    assert record.read_bytes() == before and process.poll() is None


def newest_meta(output):
    """Position of the newest checkpoint."""
    metas = [json.loads(meta.read_text()) for meta in checkpoints_in(output)]
    return max(metas, key=lambda meta: meta["updates"])


def mlflow_status(output):
    run_id = json.loads((output / "run.json").read_text())["mlflow_run_id"]
    return MlflowClient(TRACKING).get_run(run_id).info.status


@pytest.mark.parametrize(
    "workers",
    [
        MAIN_JOB_WORKERS,
        pytest.param(1, marks=pytest.mark.slow),
        pytest.param(3, marks=pytest.mark.slow),
    ],
)
def test_terminated_killed_and_resumed_equals_unbroken(tmp_path, main_job, session_ray, workers):
    whole = main_job
    broken = tmp_path / "broken"
    if workers != MAIN_JOB_WORKERS:
        whole = tmp_path / "unbroken"
        done = run(*training(main_job, whole, workers), ray=session_ray)
        assert done.returncode == 0, done.stderr
    settings = training(main_job, broken, workers)

    # SIGTERM: a checkpoint of the newest step, whether or not one is due there.
    done = stop_after_next_checkpoint(settings, broken, signal.SIGTERM, session_ray)
    assert done.returncode == 143
    assert done.stderr == "terminated; the same command goes on from here\n"
    assert mlflow_status(broken) == "KILLED"
    stopped = newest_meta(broken)
    assert stopped["updates"] > EVERY_STEPS, "no checkpoint of the step it was in"

    # SIGKILL: the newest regular checkpoint.
    killed = stop_after_next_checkpoint(settings, broken, signal.SIGKILL, session_ray)
    assert f"going on from step-{stopped['updates']:08d}" in killed.stdout
    # The workers may go on for a moment, to the end of an epoch.
    assert stopped["step"] or newest_meta(broken)["step"], "not ended inside an epoch"
    assert not (broken / "encoder").exists(), "killed too late"

    process = start(*settings, ray=session_ray)
    require_second_is_refused(process, broken, settings, session_ray)
    resumed = finish(process)
    assert resumed.returncode == 0, resumed.stderr
    assert "output: taken over from process" in resumed.stdout
    assert "going on from step-" in resumed.stdout
    assert not (broken / "owner.json").exists()
    assert mlflow_status(broken) == "FINISHED"

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
