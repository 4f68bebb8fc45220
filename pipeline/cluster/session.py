"""Connecting to Ray: a local one that is started for the run, or a cluster."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pipeline.cluster.job import ENDPOINT, in_submitted_job, job_variables
from pipeline.cluster.placement import require_room
from pipeline.cluster.quiet import set_ray_messages
from pipeline.config.cluster import Cluster
from pipeline.core.errors import UserError, first_line
from pipeline.core.paths import ROOT

# The address with which `ray.init` starts a Ray for this run alone.
LOCAL = "local"


@contextmanager
def session(cluster: Cluster, say: Callable[[str], None]) -> Iterator[None]:
    """Connect to Ray, make sure that the training workers have room, and disconnect at the end.

    A Ray that this process started ends with the session.

    Args:
        cluster: the resources that the run may use.
        say: shows a line on the console.

    Raises:
        ConfigError: the cluster has no room for the workers.
        UserError: no cluster answers at `cluster.address`.
    """
    import ray
    import ray.exceptions

    address = _address(cluster)
    try:
        ray.init(address=address, **_settings(cluster, address))
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise UserError(
            f"cluster.address={address}: no Ray to work on ({first_line(error)})"
        ) from error
    try:
        set_ray_messages(cluster.quiet)
        require_room(cluster, say)
        yield
    finally:
        ray.shutdown()


def _address(cluster: Cluster) -> str:
    """Return the address to connect to: the configured one, the job's cluster, or a local Ray."""
    if cluster.address:
        return cluster.address
    if in_submitted_job():
        return "auto"
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
