"""A search that is stopped three times comes to the same end as any other: each trial once."""

import json
import signal
import time

from mlflow.tracking import MlflowClient

from tests.helpers.cli import MAIN_JOB, TRACKING, finish, run, start

TRIALS = 6
EPOCHS = 9
SEARCH = [
    *MAIN_JOB,
    "stages=[sweep]",
    "sweep=loss_weights",
    f"sweep.trials={TRIALS}",
    f"train.epochs={EPOCHS}",
    "train.checkpoint.every_steps=null",
    "sweep.criterion.every_epochs=1",
    "sweep.criterion.held_out=0.5",
    "sweep.scheduler.reduction=3",
    "sweep.scheduler.grace_epochs=1",
    "cluster.workers=1",
    "cluster.cpus_per_worker=0.4",
    "sweep.concurrent=2",
]


def records(output):
    found = {}
    for path in sorted(output.glob("*/trial.json")):
        record = json.loads(path.read_text())
        found[record["name"]] = record
    return found


def stop_once(arguments, output, session_ray, ended, by=signal.SIGKILL):
    """Stop the driver once so many trials have ended and another has been measured.

    Returns:
        The driver, which has ended, and the records that it left.
    """
    process = start(*arguments, ray=session_ray)
    deadline = time.monotonic() + 240
    while True:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, records(output)
        states = [record["state"] for record in records(output).values()]
        is_measured = any(
            record["state"] == "open" and record["rungs"] for record in records(output).values()
        )
        if len(states) - states.count("open") >= ended and is_measured:
            break
        time.sleep(0.01)
    process.send_signal(by)
    return finish(process, timeout=60), records(output)


def test_a_search_that_is_stopped_thrice_runs_each_trial_once(tmp_path, main_job, session_ray):
    output = tmp_path / "search"
    arguments = [*SEARCH, f"data.store={main_job}/store", f"output={output}"]
    _, first = stop_once(arguments, output, session_ray, ended=1)
    _, second = stop_once(arguments, output, session_ray, ended=2)
    terminated, third = stop_once(arguments, output, session_ray, ended=4, by=signal.SIGTERM)
    assert terminated.stderr == "terminated; the same command goes on from here\n"
    done = run(*arguments, ray=session_ray)
    assert done.returncode == 0, done.stderr + done.stdout
    last = records(output)

    # All trials are accounted for, each once.
    assert sorted(last) == [f"point{number:03d}-0" for number in range(TRIALS)]
    states = {record["state"] for record in last.values()}
    assert states == {"finished", "stopped"}
    for earlier in (first, second, third):
        for name, record in earlier.items():
            # What had ended was not run again, and what was measured was not measured again.
            if record["state"] != "open":
                assert last[name] == record
            assert last[name]["params"] == record["params"]
            assert last[name]["rungs"][: len(record["rungs"])] == record["rungs"]
    for name, record in last.items():
        epochs = [rung["epoch"] for rung in record["rungs"]]
        assert epochs == sorted(set(epochs))
        rows = (output / name / "metrics.jsonl").read_text().splitlines()
        steps = [json.loads(row)["step"] for row in rows]
        assert steps == sorted(set(steps))
        if record["state"] == "finished":
            assert epochs[-1] == EPOCHS and (output / name / "encoder").exists()
    require_rungs_of_asha(last)
    require_children(output, last)


def require_rungs_of_asha(last):
    """Every trial that ASHA stopped was among the worse ones of its rung when it came there."""
    arrived = []
    for record in last.values():
        for rung in record["rungs"]:
            if rung["epoch"] in (1, 3):
                value = rung["figures"]["linear_top1"]
                arrived.append((rung["time"], rung["epoch"], value, record))
    seen = {1: [], 3: []}
    for _, epoch, value, record in sorted(arrived, key=lambda item: item[0]):
        others = sorted(seen[epoch], reverse=True)
        seen[epoch].append(value)
        is_last = record["rungs"][-1]["epoch"] == epoch
        if record["state"] == "stopped" and is_last:
            # Worse than the best third of those that had come before.
            assert others and value < others[0], (record["name"], epoch)


def require_children(output, last):
    """MLflow has one run for each trial, in its state, below the run of the search."""
    client = MlflowClient(TRACKING)
    parent = client.get_run(json.loads((output / "run.json").read_text())["mlflow_run_id"])
    filter_string = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    children = client.search_runs([parent.info.experiment_id], filter_string)
    assert sorted(child.info.run_name for child in children) == sorted(last)
    for child in children:
        record = last[child.info.run_name]
        assert child.data.tags["sweep.state"] == record["state"]
        assert child.info.status == "FINISHED"
        assert "held_out/linear_top1" in child.data.metrics
