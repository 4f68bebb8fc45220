"""The only place that calls what Ray does not document. Each call has a public fallback.

`tests/ray/test_ray_internals.py` holds the contract: what a new Ray must still answer.
"""

import ray


def free_object_store_bytes() -> int:
    """Return the free bytes of the object store of the node that has the least of them.

    Ray has a public call for what the whole cluster has left, and none for a single node. Where
    the internal call is gone, each node is taken to have its share of what the cluster has left.
    """
    free = _free_by_node()
    if free:
        return int(min(free))
    nodes = sum(1 for node in ray.nodes() if node["Alive"])
    return int(ray.available_resources().get("object_store_memory", 0) / max(1, nodes))


def _free_by_node() -> list[float]:
    try:
        from ray._private.state import available_resources_per_node
    except ImportError:
        return []
    return [node.get("object_store_memory", 0) for node in available_resources_per_node().values()]
