"""Who gets what of a cluster: whether the training workers have room, and something is left."""

from collections.abc import Callable, Mapping, Sequence

from pipeline.config.cluster import Cluster
from pipeline.core.errors import ConfigError

# What reading and evaluation need besides the training workers.
SPARE_CPUS = 0.5
# How long a run that has ended may take to give its room back.
RELEASE_SECONDS = 20
# How long a cluster that has room may take to say so.
QUICK_SECONDS = 2
# Resources are floating-point numbers: 0.9999999 of a share still holds one worker.
ROUNDING = 1e-9

Resources = Mapping[str, float]


def bundle(cluster: Cluster) -> dict[str, float]:
    """Return the resources of one training worker."""
    resources: dict[str, float] = {"CPU": cluster.cpus_per_worker}
    if cluster.gpu:
        resources["GPU"] = 1
    return resources


def require_room(cluster: Cluster, say: Callable[[str], None]) -> None:
    """Make sure that the workers have room, and wait for it at most `cluster.wait_minutes`.

    The room is reserved for a moment: so Ray counts what others hold, and an autoscaler sees what
    is asked for. Without `wait_minutes` there is a short grace for what the run before this one is
    still giving back.

    Raises:
        ConfigError: the cluster cannot place what is asked for.
    """
    from ray.util.placement_group import placement_group, remove_placement_group

    problem = shortage(cluster, _nodes())
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
        problem = shortage(cluster, _nodes())
        if problem is None:
            problem = "others hold what they need; set cluster.wait_minutes to wait"
        raise ConfigError(f"cluster.workers={cluster.workers}: {problem}")
    finally:
        remove_placement_group(room)


def shortage(cluster: Cluster, nodes: Sequence[Resources]) -> str | None:
    """Say why `nodes` cannot hold the workers and leave SPARE_CPUS on one of them.

    Args:
        cluster: what is asked for.
        nodes: the resources of each node.

    Returns:
        The reason in words, None where there is room.
    """
    need = bundle(cluster)
    each = " and ".join(f"{amount:g} {name}" for name, amount in need.items())
    fitting = sum(_fitting(node, need) for node in nodes)
    if fitting < cluster.workers:
        return f"the cluster has room for {fitting} workers of {each}"
    # A reading task takes SPARE_CPUS of one node. It is best taken where it costs fewest workers.
    costs = []
    for node in nodes:
        if node.get("CPU", 0) >= SPARE_CPUS:
            less = dict(node)
            less["CPU"] -= SPARE_CPUS
            costs.append(_fitting(node, need) - _fitting(less, need))
    if costs and fitting - min(costs) >= cluster.workers:
        return None
    total = sum(node.get("CPU", 0) for node in nodes)
    return (
        f"{cluster.workers} workers of {each} leave no node with {SPARE_CPUS:g} of the cluster's "
        f"{total:g} CPUs for reading; lower cluster.cpus_per_worker"
    )


def _fitting(node: Resources, need: Resources) -> int:
    """Return how many workers that need so much fit a node."""
    return min(int(node.get(name, 0) / amount + ROUNDING) for name, amount in need.items())


def _nodes() -> list[dict[str, float]]:
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]
