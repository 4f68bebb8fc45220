"""Noticing that Ray is gone, without a Ray: sockets, and names of processes."""

import socket

import pytest

from pipeline.cluster import lifeline
from pipeline.cluster.job import require_named_cluster
from pipeline.cluster.lifeline import Lifeline, answers
from pipeline.core.errors import ConfigError


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_it_answers_while_somebody_listens(listening):
    assert answers(listening)
    assert not answers("127.0.0.1:1")


def test_a_cluster_is_gone_once_it_has_been_silent_for_long(listening, monkeypatch):
    line = Lifeline(listening, local=False, log=None)
    assert line.problem() is None
    line.gcs = "127.0.0.1:1"
    assert line.problem() is None
    monkeypatch.setattr(lifeline, "PATIENCE_SECONDS", 0)
    assert "127.0.0.1:1 has not answered" in line.problem()


@pytest.mark.parametrize(
    ("dead", "gone"), [([], False), (["log_monitor"], False), (["raylet"], True)]
)
def test_a_local_ray_is_gone_with_a_process_that_it_needs(monkeypatch, dead, gone):
    monkeypatch.setattr(lifeline, "dead_processes", lambda: dead)
    problem = Lifeline("127.0.0.1:1", local=True, log=None).problem()
    assert (problem is not None) == gone


def test_the_message_is_one_line_and_names_the_log(capfd, monkeypatch):
    monkeypatch.setattr(lifeline, "session_logs", lambda: "/tmp/ray/session/logs")
    line = Lifeline("127.0.0.1:1", local=True, log="run/logs/ray.log")
    message = line._explain("killed")
    assert message.endswith("what Ray wrote: run/logs/ray.log") and "\n" not in message
    # In the log: where Ray's processes left theirs.
    assert "/tmp/ray/session/logs" in capfd.readouterr().err


def test_a_cluster_is_named_outside_a_submitted_job(monkeypatch):
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    for address in (None, "10.0.0.1:6379"):
        require_named_cluster(address)
    with pytest.raises(ConfigError, match=r"cluster.address=auto: .*ray job submit"):
        require_named_cluster("auto")
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    require_named_cluster("auto")
