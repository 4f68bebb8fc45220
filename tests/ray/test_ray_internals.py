"""What a new Ray must still answer, where we call what it does not document."""

import inspect
import time
from pathlib import Path

import pytest
from ray import tune
from ray.train.torch import TorchTrainer
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from pipeline.cluster import ray_internals
from pipeline.cluster.ray_internals import free_object_store_bytes

# Other tests put things into the store of the same Ray, between one look and the next.
SAME = 0.25


def test_ray_says_what_each_node_has_left(ray_session):
    by_node = ray_internals._free_by_node()
    assert len(by_node) == len([node for node in ray_session.nodes() if node["Alive"]])
    assert all(free > 0 for free in by_node)
    assert free_object_store_bytes() == pytest.approx(min(by_node), rel=SAME)


def test_without_the_internal_call_the_public_one_serves(ray_session, monkeypatch):
    expected = free_object_store_bytes()
    monkeypatch.setattr(ray_internals, "_free_by_node", list)
    # One node: its share of what the cluster has left is all of it.
    assert free_object_store_bytes() == pytest.approx(expected, rel=SAME)


def test_the_node_with_the_least_decides(monkeypatch):
    monkeypatch.setattr(ray_internals, "_free_by_node", lambda: [5e9, 2e9, 7e9])
    assert free_object_store_bytes() == 2_000_000_000


def test_what_is_taken_from_ray_or_replaced_in_it_is_there(ray_session):
    worker = ray_session._private.worker
    assert callable(TorchTrainer._register_sigint_handler)
    # This Ray was started by another process: there is none that died.
    assert ray_internals.dead_processes() == []
    assert callable(worker._global_node.dead_processes)
    assert Path(ray_internals.session_logs()).is_dir()
    parameters = inspect.signature(worker.print_to_stdstream).parameters
    assert list(parameters) == ["data", "ignore_prefix"]


def test_messages_about_nodes_go_to_the_log(ray_session, monkeypatch, capfd):
    worker = ray_session._private.worker
    monkeypatch.setattr(worker, "print_to_stdstream", worker.print_to_stdstream)
    ray_internals.write_messages_to_stderr()
    worker.print_to_stdstream({"lines": ["raylet died"], "is_err": False}, ignore_prefix=False)
    assert capfd.readouterr() == ("", "raylet died\n")


def test_a_report_without_the_figure_of_a_scheduler_is_none_for_it(ray_session, tmp_path):
    """Such as that of a trial that has collapsed."""

    def function(_):
        tune.report({"epoch": 1, "reason": "collapsed"})

    tuner = tune.Tuner(
        tune.with_resources(function, {"cpu": 0.01}),
        tune_config=tune.TuneConfig(
            scheduler=AsyncHyperBandScheduler(time_attr="epoch", metric="figure", mode="max")
        ),
        run_config=tune.RunConfig(storage_path=str(tmp_path / "tune"), verbose=0),
    )
    [result] = tuner.fit()
    assert result.error is None and result.metrics["reason"] == "collapsed"


def test_a_function_that_tune_stops_comes_to_its_own_end(ray_session, tmp_path):
    """Both when another trial takes its process and when the process ends."""

    class StopAtOnce(FIFOScheduler):
        def on_trial_result(self, *_):
            return TrialScheduler.STOP

    def function(config):
        try:
            tune.report({"epoch": 1})
        finally:
            # Longer than Tune waits by itself.
            time.sleep(3)
            (tmp_path / config["name"]).touch()

    tuner = tune.Tuner(
        tune.with_resources(ray_internals.patient(function, 20), {"cpu": 0.01}),
        param_space={"name": tune.grid_search(["one", "two"])},
        tune_config=tune.TuneConfig(
            scheduler=StopAtOnce(), max_concurrent_trials=1, reuse_actors=True
        ),
        run_config=tune.RunConfig(storage_path=str(tmp_path / "tune"), verbose=0),
    )
    results = tuner.fit()
    assert not results.errors
    assert (tmp_path / "one").exists() and (tmp_path / "two").exists()
