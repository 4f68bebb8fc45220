from pipeline.cluster.placement import shortage
from pipeline.config.cluster import Cluster


def cluster(**settings):
    defaults = {
        "address": None,
        "workers": 2,
        "cpus_per_worker": 0.75,
        "threads": 1,
        "gpu": False,
        "wait_minutes": 0,
        "object_store_gb": None,
        "storage_endpoint": None,
        "quiet": True,
    }
    return Cluster(**(defaults | settings))


def test_two_workers_fit_two_cores_and_leave_room_for_reading():
    assert shortage(cluster(), [{"CPU": 2.0}]) is None


def test_workers_never_take_every_cpu():
    assert "no node with 0.5 of the cluster's 2 CPUs" in shortage(
        cluster(cpus_per_worker=1), [{"CPU": 2.0}]
    )
    assert shortage(cluster(cpus_per_worker=1), [{"CPU": 2.0}, {"CPU": 1.0}]) is None


def test_a_worker_is_not_spread_over_nodes():
    # Three CPUs in all, but no node holds a worker of two.
    assert "room for 0 workers of 2 CPU" in shortage(
        cluster(workers=1, cpus_per_worker=2), [{"CPU": 1.0}] * 3
    )


def test_gpus_that_are_not_there():
    assert "room for 1 workers" in shortage(
        cluster(gpu=True), [{"CPU": 8.0, "GPU": 1.0}, {"CPU": 64.0}]
    )
    assert shortage(cluster(gpu=True), [{"CPU": 8.0, "GPU": 2.0}]) is None


def test_fractions_of_a_cpu_add_up():
    assert shortage(cluster(workers=10, cpus_per_worker=0.1), [{"CPU": 1.5}]) is None


def test_reading_needs_its_cpu_on_one_node():
    # Half a CPU is left in all, but in two halves of a half.
    assert "leave no node" in shortage(cluster(), [{"CPU": 1.0}, {"CPU": 1.0}])
    assert shortage(cluster(), [{"CPU": 1.0}, {"CPU": 1.0}, {"CPU": 0.5}]) is None
    assert shortage(cluster(), [{"CPU": 1.5}, {"CPU": 1.0}]) is None
