"""Whether a cluster has room for the training workers, and some CPU left for reading."""

from collections.abc import Callable, Mapping, Sequence

from pipeline.config.cluster import Cluster
from pipeline.core.errors import ConfigError

# What reading and evaluation need besides the training workers.
SPARE_CPUS = 0.5
# A run that has just ended gives its room back within this time.
RELEASE_SECONDS = 20
# A cluster with free room grants it within this time. After it, the user is told about the wait.
QUICK_SECONDS = 2
# Resources are floating-point numbers: room for 0.9999999999 workers is room for one.
ROUNDING = 1e-9

Resources = Mapping[str, float]


def bundle(cluster: Cluster, gpu_share: float = 1) -> dict[str, float]:
    """Return the resources of one training worker.

    Args:
        cluster: the resources that the run needs.
        gpu_share: the part of a GPU that a worker gets, where it gets one.
    """
    resources: dict[str, float] = {"CPU": cluster.cpus_per_worker}
    if cluster.gpu:
        resources["GPU"] = gpu_share
    return resources


def trials_at_once(cluster: Cluster, gpu_share: float, nodes: Sequence[Resources]) -> int:
    """Return how many trials of a sweep have room at the same time, at least one.

    Args:
        cluster: the resources that one trial needs.
        gpu_share: see `bundle`.
        nodes: the resources of each node.

    Example: trials of one worker with 0.75 CPUs, on nodes of 2 CPUs each: two on every node.
    """
    need = bundle(cluster, gpu_share)
    trials = sum(_workers_on(node, need) for node in nodes) // cluster.workers
    while trials > 1 and _shortage(need, trials * cluster.workers, nodes) is not None:
        trials -= 1
    return max(1, trials)


def require_room(cluster: Cluster, say: Callable[[str], None]) -> None:
    """Make sure that the workers have room, and wait for it at most `cluster.wait_minutes`.

    This reserves the room for a moment. So Ray takes into account what other runs hold, and an
    autoscaler learns how much is needed. Without `wait_minutes` it still waits RELEASE_SECONDS,
    because a run that has just ended may not have released its room yet.

    Args:
        cluster: the resources that the run needs.
        say: shows a line on the console.

    Raises:
        ConfigError: the cluster has no room.
    """
    from ray.util.placement_group import placement_group, remove_placement_group

    problem = shortage(cluster, alive_nodes())
    if problem and not cluster.wait_minutes:
        raise ConfigError(f"cluster.workers={cluster.workers}: {problem}")
    wanted = [bundle(cluster) for _ in range(cluster.workers)]
    wanted.append({"CPU": SPARE_CPUS})
    room = placement_group(wanted)
    try:
        if room.wait(timeout_seconds=QUICK_SECONDS):
            return
        reason = problem or "others hold what the workers need"
        say(f"waiting for the cluster: {reason}")
        if room.wait(timeout_seconds=max(RELEASE_SECONDS, 60 * cluster.wait_minutes)):
            return
        problem = shortage(cluster, alive_nodes())
        if problem is None:
            problem = "others hold what they need; set cluster.wait_minutes to wait"
        raise ConfigError(f"cluster.workers={cluster.workers}: {problem}")
    finally:
        remove_placement_group(room)


def shortage(cluster: Cluster, nodes: Sequence[Resources]) -> str | None:
    """Say why `nodes` cannot hold the workers and leave SPARE_CPUS on one of them.

    Args:
        cluster: the resources that the run needs.
        nodes: the resources of each node.

    Returns:
        The reason in words, None if the nodes have room.

    Example: two workers of 1 CPU each, and SPARE_CPUS of 0.5.

        nodes of 1 and 1 CPUs    Each worker fills a node, and no node has 0.5 CPUs left: too small.
        nodes of 1 and 1.5 CPUs  The second node holds a worker and the 0.5 CPUs: large enough.
    """
    return _shortage(bundle(cluster), cluster.workers, nodes)


def _shortage(need: Resources, workers: int, nodes: Sequence[Resources]) -> str | None:
    """Say why `nodes` cannot hold so many workers and leave SPARE_CPUS on one of them."""
    each = " and ".join(f"{amount:g} {name}" for name, amount in need.items())
    fitting = sum(_workers_on(node, need) for node in nodes)
    if fitting < workers:
        return f"the cluster has room for {fitting} workers of {each}"
    # A reading task takes SPARE_CPUS of one node. It goes where it displaces the fewest workers.
    displaced = []
    for node in nodes:
        if node.get("CPU", 0) >= SPARE_CPUS:
            rest = dict(node)
            rest["CPU"] -= SPARE_CPUS
            displaced.append(_workers_on(node, need) - _workers_on(rest, need))
    if displaced and fitting - min(displaced) >= workers:
        return None
    total = sum(node.get("CPU", 0) for node in nodes)
    return (
        f"{workers} workers of {each} leave no node with {SPARE_CPUS:g} of the cluster's "
        f"{total:g} CPUs for reading; lower cluster.cpus_per_worker"
    )


def _workers_on(node: Resources, need: Resources) -> int:
    """Return how many workers fit on a node, if one worker needs the resources `need`."""
    workers = []
    for name, amount in need.items():
        workers.append(int(node.get(name, 0) / amount + ROUNDING))
    # The scarcest resource decides.
    return min(workers)


def alive_nodes() -> list[dict[str, float]]:
    """Return the resources of each node of the cluster that this process is connected to."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]
