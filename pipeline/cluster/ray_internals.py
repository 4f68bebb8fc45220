"""The only module that calls undocumented functions of Ray. Each has a documented fallback.

`tests/ray/test_ray_internals.py` checks that a new version of Ray still answers the same.
"""

import os
from collections.abc import Callable
from typing import Any

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


def leave_interrupts_alone(trainer: Any) -> None:
    """Keep Ray Train from replacing the handler of Ctrl-C, which writes a checkpoint.

    If a version of Ray names its method otherwise, Ctrl-C ends the training without a checkpoint.
    """
    trainer._register_sigint_handler = lambda controller: None


def write_messages_to_stderr() -> None:
    """Write messages about nodes, such as the log of one that died, to file descriptor 2.

    `pipeline.cluster.quiet` makes that a file. Otherwise they appear on the console.
    """

    def write(data: Any, ignore_prefix: bool) -> None:
        for line in data["lines"]:
            os.write(2, f"{line}\n".encode(errors="replace"))

    ray._private.worker.print_to_stdstream = write


def dead_processes() -> list[str]:
    """Return the names of the processes of a local Ray that this process started and that ended.

    If a version of Ray lacks the internal call, the loss is noticed later, by calls that fail.
    """
    node = getattr(ray._private.worker, "_global_node", None)
    if node is None or not hasattr(node, "dead_processes"):
        return []
    return [name for name, _ in node.dead_processes()]


def session_logs() -> str | None:
    """Return the folder of the logs of Ray's own processes on this node, None if unknown."""
    node = getattr(ray._private.worker, "_global_node", None)
    if node is None or not hasattr(node, "get_logs_dir_path"):
        return None
    return str(node.get_logs_dir_path())


def patient(trainable: Callable[..., Any], seconds: float) -> Any:
    """Let a function that Ray Tune stops come to its own end, before its process ends.

    Tune raises SystemExit in the function's report only when another trial takes its process, or
    when the process is about to end. It then waits for 2 seconds, or not at all. A trial of several
    workers needs longer to end them; those of a function that was killed keep their resources.

    If a version of Ray lacks the internal calls, Tune waits as it does.

    Args:
        trainable: a function for Tune, with its parameters.
        seconds: how long it may take to end.
    """
    try:
        from ray.train._internal.session import get_session
        from ray.tune.trainable.function_trainable import wrap_function
    except ImportError:
        return trainable
    base: Any = wrap_function(trainable)

    def wait() -> None:
        session = get_session()
        if session is not None:
            session.finish(timeout=seconds)

    class Patient(base):
        def reset_config(self, new_config: dict[str, Any]) -> bool:
            wait()
            return bool(super().reset_config(new_config))

        def cleanup(self) -> None:
            wait()
            super().cleanup()

    return Patient
