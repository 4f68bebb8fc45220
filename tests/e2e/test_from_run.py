"""A run that MLflow has recorded is made again, and computes the same."""

import json
import shlex
import shutil
import subprocess

import pytest
from mlflow.tracking import MlflowClient

from benchmarks import same_results
from pipeline.run import main
from tests.helpers.cli import MAIN_JOB, run


@pytest.fixture
def recorded(main_job, tmp_path, monkeypatch):
    """The id of the main job in MLflow, and a copy of its database."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(main_job / "mlflow.db", tmp_path / "mlflow.db")
    summary = json.loads((main_job / "summary.json").read_text())
    return summary["mlflow_run_id"], f"sqlite:///{tmp_path}/mlflow.db"


def error_of(capsys):
    """The one line of an error. In a process of its own nothing else is on stderr."""
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if "error: " in line]
    assert len(errors) == 1 and lines[-1] == errors[0]
    return errors[0]


def content_of(output, capsys):
    """What runs that compute the same have in common."""
    capsys.readouterr()
    assert same_results.main(["--output", str(output)]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_command_of_a_run_is_printed_and_nothing_else_is_done(
    main_job, recorded, tmp_path, capsys, monkeypatch
):
    run_id, uri = recorded
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    request = [f"from_run={run_id}", f"tracking.uri={uri}", "output=it's here", "train.epochs=9"]
    assert main(["--print", *request]) == 0
    assert sorted(tmp_path.rglob("*")) == before
    command = capsys.readouterr().out
    assert command.count("\n") == 1
    words = shlex.split(command)
    assert words[0] == "skelfuse" and set(MAIN_JOB) < set(words)
    assert words[-3:] == request[1:]
    assert f"data.store={main_job}/store" in words
    script = f'skelfuse() {{ printf "%s\\n" "$@"; }}; {command}'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == words[1:]
    # As a configuration it is the recorded one, with the changes that were asked for.
    assert main(["--cfg", "job", *request]) == 0
    shown = capsys.readouterr().out
    assert "epochs: 9" in shown and "every_steps: 3" in shown


def test_the_recorded_run_is_not_written_over(main_job, recorded, capsys):
    run_id, uri = recorded
    state = (main_job / "run.json").read_bytes()
    request = [f"from_run={run_id}", f"tracking.uri={uri}", f"output={main_job}", "fresh=true"]
    assert main(request) == 2
    assert f"holds the recorded run {run_id}" in error_of(capsys)
    assert (main_job / "run.json").read_bytes() == state


def test_a_run_without_a_configuration_and_one_of_another_program_are_refused(recorded, capsys):
    _, uri = recorded
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("skelfuse").experiment_id
    for tags in ({}, {"config.digest": "0123456789abcdef"}):
        run_id = client.create_run(experiment, tags=tags).info.run_id
        assert main([f"from_run={run_id}", f"tracking.uri={uri}"]) == 2
        assert run_id in error_of(capsys)
    assert main([f"from_run={'0' * 32}", f"tracking.uri={uri}"]) == 2
    assert "0" * 32 in error_of(capsys)


def test_the_same_run_again_has_the_same_figures(main_job, recorded, tmp_path, session_ray, capsys):
    run_id, uri = recorded
    again = tmp_path / "again"
    request = [f"from_run={run_id}", f"tracking.uri={uri}", f"output={again}"]
    # The experiment of the copied database keeps its files in the main job.
    done = run(*request, "tracking.experiment=again", ray=session_ray)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"from_run: synthetic ({run_id}, FINISHED)" in done.stdout
    # It has no store of its own. Whoever compares runs looks for it in their outputs.
    (again / "store").symlink_to(main_job / "store")
    assert content_of(again, capsys) == content_of(main_job, capsys)
    (again / "store").unlink()
    # Its record has the command that it ran with: it can be made again without the first one.
    summary = json.loads((again / "summary.json").read_text())
    tags = MlflowClient(uri).get_run(summary["mlflow_run_id"]).data.tags
    assert set(MAIN_JOB) < set(json.loads(tags["run.command"]))
    # The same command is done.
    done = run(*request, "tracking.experiment=again", ray=session_ray)
    assert done.returncode == 0 and "pretrain: done before, skipped" in done.stdout
