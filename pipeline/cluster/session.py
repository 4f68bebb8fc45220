"""Connecting to Ray: a local one that is started for the run, or a cluster."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pipeline.cluster.job import AUTO, ENDPOINT, LOCAL, in_submitted_job, job_variables
from pipeline.cluster.placement import require_room
from pipeline.cluster.quiet import set_ray_messages
from pipeline.config.cluster import Cluster
from pipeline.core.errors import UserError, first_line
from pipeline.core.last_words import last_words
from pipeline.core.paths import ROOT
from pipeline.core.shown_text import one_line
from pipeline.core.termination import Terminated, ending

# The variable in which Ray's tools find a cluster. `ray.init` ignores it with an address.
ADDRESS = "RAY_ADDRESS"


@contextmanager
def session(cluster: Cluster, say: Callable[[str], None], log: str | None = None) -> Iterator[None]:
    """Connect to Ray, make sure that the training workers have room, and disconnect at the end.

    A Ray that this process started ends with the session.

    Args:
        cluster: the resources that the run may use.
        say: shows a line on the console.
        log: where what Ray writes is found; None if it is on the console.

    Raises:
        ConfigError: the cluster has no room for the workers.
        UserError: no cluster answers at `cluster.address`, or the cluster is lost.
    """
    import ray

    from pipeline.cluster.lifeline import UNKNOWN, Lifeline, with_advice
    from pipeline.cluster.ray_internals import write_messages_to_stderr

    address = _address(cluster)
    _connect(cluster, address)
    try:
        set_ray_messages(cluster.quiet)
        if cluster.quiet:
            write_messages_to_stderr()
        gcs = ray.get_runtime_context().gcs_address
        if address == LOCAL:
            _mention_unused_address(say)
        else:
            say(_describe(gcs))
        last_words.prepare(one_line(f"error: {with_advice(UNKNOWN, log)}"))
        with ending.meant(), Lifeline(gcs, address == LOCAL, log):
            require_room(cluster, say)
            yield
    finally:
        if not ending.hurried:
            ray.shutdown()
            last_words.dismiss()


def _connect(cluster: Cluster, address: str) -> None:
    """Call `ray.init`, and turn its errors into one line."""
    import ray
    import ray.exceptions

    try:
        ray.init(address=address, **_settings(cluster, address))
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise UserError(
            f"cluster.address={address}: no Ray to work on ({first_line(error)})"
        ) from error
    except SystemExit:
        # While it starts, Ray's own handler of SIGTERM is in place.
        raise Terminated from None
    finally:
        ending.listen()


def _describe(gcs: str) -> str:
    """Return a line about the cluster that was joined."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus = sum(node.get("CPU", 0) for node in nodes)
    gpus = sum(node.get("GPU", 0) for node in nodes)
    return f"cluster: {gcs} (nodes: {len(nodes)}, CPUs: {cpus:g}, GPUs: {gpus:g})"


def _mention_unused_address(say: Callable[[str], None]) -> None:
    """Say that RAY_ADDRESS does not decide where a run works."""
    address = os.environ.get(ADDRESS)
    if address:
        say(f"  {ADDRESS}={address} is not used; cluster.address={address} would join that cluster")


def _address(cluster: Cluster) -> str:
    """Return the address to connect to: the configured one, the job's cluster, or a local Ray."""
    if cluster.address:
        return cluster.address
    if in_submitted_job():
        return AUTO
    return LOCAL


def _settings(cluster: Cluster, address: str) -> dict[str, Any]:
    """Return the arguments of `ray.init`, and set PYTHONPATH for a Ray that it starts."""
    settings: dict[str, Any] = {
        "log_to_driver": not cluster.quiet,
        "logging_level": logging.ERROR if cluster.quiet else logging.INFO,
        "configure_logging": True,
    }
    if address == LOCAL:
        # Workers inherit the environment of this process. So they import the same code.
        inherited = os.environ.get("PYTHONPATH")
        paths = [str(ROOT)]
        if inherited:
            paths.append(inherited)
        os.environ["PYTHONPATH"] = os.pathsep.join(paths)
        settings["include_dashboard"] = False
        if cluster.object_store_gb:
            settings["object_store_memory"] = int(cluster.object_store_gb * 1e9)
    # A running cluster does not inherit this process's environment, so it is told the address.
    elif cluster.storage_endpoint and ENDPOINT not in job_variables():
        settings["runtime_env"] = {"env_vars": {ENDPOINT: cluster.storage_endpoint}}
    return settings
