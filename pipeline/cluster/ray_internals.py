"""The only module that calls undocumented functions of Ray. Each has a documented fallback.

`tests/ray/test_ray_internals.py` checks that a new version of Ray still answers the same.
"""

import ray


def free_object_store_bytes() -> int:
    """Return the free object store of the node that has least of it, in bytes.

    Ray's public call returns the sum over the cluster, not the value of each node. If a version of
    Ray lacks the internal call, the sum is divided evenly among the nodes.
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
    free = []
    for resources in available_resources_per_node().values():
        free.append(resources.get("object_store_memory", 0))
    return free
