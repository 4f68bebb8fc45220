"""The process of trials on a real Ray: an actor in the placement that Ray Tune gives it."""

import threading
import time

import pytest
import ray
from ray.util.placement_group import (
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from pipeline.config.compose import load
from pipeline.pretrain import checkpoint
from pipeline.sweep.trial_process import run_trial
from tests.helpers.stores import write_store
from tests.helpers.trials import CRITERION, EPOCHS, Stopped, order_of, stop_at

WAITING_CPUS = 0.01


class Process:
    """Runs a trial after another, each in a thread, as Ray Tune does."""

    def run(self, order, stop_epoch=None):
        """Return the reports of a trial, and whether it was stopped."""
        reports, ends = [], []

        def work():
            try:
                run_trial(order, stop_at(stop_epoch, reports))
                ends.append("done")
            except Stopped:
                ends.append("stopped")
            except Exception as error:
                ends.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        if isinstance(ends[0], Exception):
            raise ends[0]
        return reports, ends[0] == "stopped"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_store(str(tmp_path_factory.mktemp("store")), load(["data.persons=1"]))


@pytest.fixture
def process(ray_session):
    """An actor with next to no CPU. Its tasks and actors share its place unless told otherwise."""
    group = placement_group([{"CPU": WAITING_CPUS}])
    place = PlacementGroupSchedulingStrategy(group, placement_group_capture_child_tasks=True)
    actor = ray.remote(Process).options(num_cpus=WAITING_CPUS, scheduling_strategy=place).remote()
    yield actor
    ray.kill(actor)
    remove_placement_group(group)


def groups():
    """The placement groups that hold resources."""
    table = placement_group_table().values()
    return {group["placement_group_id"] for group in table if group["state"] == "CREATED"}


def assert_only(before, seconds=30):
    """Wait until no other groups hold resources: Ray takes them back some time after it says so.

    Those of an earlier test may be among `before`, and gone meanwhile.
    """
    deadline = time.monotonic() + seconds
    while groups() - before:
        assert time.monotonic() < deadline, f"still reserved: {groups() - before}"
        time.sleep(0.1)


@pytest.mark.slow
def test_trials_of_one_and_of_several_workers_take_turns_in_a_process(process, store, tmp_path):
    measured = "stages=[pretrain,evaluate]"
    alone = order_of(store, tmp_path / "alone", measured, criterion=CRITERION)
    reports, stopped = ray.get(process.run.remote(alone))
    assert not stopped and [report.epoch for report in reports] == [2, EPOCHS]
    before = groups()

    # Stopped at its first rung: the workers end, and give back what they had.
    overrides = (measured, "cluster.workers=2", "cluster.cpus_per_worker=0.5")
    order = order_of(store, tmp_path / "two", *overrides, criterion=CRITERION)
    reports, stopped = ray.get(process.run.remote(order, 2))
    assert stopped and not reports
    assert_only(before)
    resume = checkpoint.newest(str(tmp_path / "two"))
    assert resume.position.epoch >= 2

    # It goes on from its newest checkpoint, and is evaluated on the cluster.
    again = order_of(store, tmp_path / "two", *overrides, criterion=CRITERION, measured=(2,))
    reports, stopped = ray.get(process.run.remote(again))
    assert not stopped
    assert_only(before)
    last = reports[-1]
    assert last.epoch == EPOCHS and last.figures.keys() >= {"linear_top1"}
    assert last.results.keys() == {"pretrain", "evaluate"}
    assert {row["step"] for row in last.rows} <= {*range(resume.position.updates + 1, 100)}
    for name in ("encoder", "random"):
        assert (tmp_path / "two" / "features" / f"{name}.safetensors").exists()
