"""The Ray that a run works on: its own on this machine, or the cluster it was submitted to; quiet, never overfull."""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.config.schema import Cluster
from pipeline.core.errors import ConfigError, UserError, first_line
from pipeline.core.paths import ROOT

# What reading and evaluation need besides the training workers.
SPARE_CPUS = 0.5
# How long a run that ended may take to give its room back.
RELEASE_SECONDS = 20
QUICK_SECONDS = 2

# Where Ray describes the job to its driver.
JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
# Where Arrow looks for the address of S3-compatible storage.
ENDPOINT = "AWS_ENDPOINT_URL"

# Nothing phones home and no library talks over the run's own output, unless the user set the variable.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "TQDM_DISABLE": "1",
}


def prepare_environment() -> None:
    """Set what Ray and MLflow read when they are imported; call before importing either."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def reach_storage(cluster: Cluster) -> None:
    """Point this process, and the local Ray that it starts, to `cluster.storage_endpoint`."""
    if cluster.storage_endpoint:
        given = _job_variables().get(ENDPOINT, cluster.storage_endpoint)
        if given != cluster.storage_endpoint:
            raise ConfigError(
                f"cluster.storage_endpoint={cluster.storage_endpoint}: the job sets {ENDPOINT}={given}"
            )
        os.environ[ENDPOINT] = cluster.storage_endpoint


def in_submitted_job() -> bool:
    """True inside `ray job submit`, whose working directory may be a temporary copy."""
    return JOB in os.environ


def _job_variables() -> dict[str, str]:
    """The environment variables that the job was submitted with; Ray takes none of them a second time."""
    return json.loads(os.environ.get(JOB, "{}")).get("runtime_env", {}).get("env_vars", {})


@contextmanager
def session(cluster: Cluster, say: Callable[[str], None]) -> Iterator[None]:
    """A connected Ray that can place `cluster`'s training workers; disconnected (if started here, ended) on leaving.

    Raises:
        ConfigError: the cluster cannot place what is asked for.
        UserError: no cluster answers at `cluster.address`.
    """
    import ray
    import ray.exceptions

    address = cluster.address or ("auto" if in_submitted_job() else "local")
    settings = {
        "address": address,
        "log_to_driver": not cluster.quiet,
        "logging_level": logging.ERROR if cluster.quiet else logging.INFO,
        "configure_logging": True,
    }
    if address == "local":
        # Workers inherit the environment of the Ray that this process starts: they import what it imports.
        os.environ["PYTHONPATH"] = os.pathsep.join(
            [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        )
        settings["include_dashboard"] = False
        if cluster.object_store_gb:
            settings["object_store_memory"] = int(cluster.object_store_gb * 1e9)
    elif cluster.storage_endpoint and ENDPOINT not in _job_variables():
        settings["runtime_env"] = {"env_vars": {ENDPOINT: cluster.storage_endpoint}}
    try:
        ray.init(**settings)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise UserError(
            f"cluster.address={address}: no Ray to work on ({first_line(error)})"
        ) from error
    try:
        _hush(cluster.quiet)
        require(cluster, say)
        yield
    finally:
        ray.shutdown()


def require(cluster: Cluster, say: Callable[[str], None]) -> None:
    """Make sure that the workers have room, waiting for it `cluster.wait_minutes` at most; ConfigError without.

    Room is reserved for a moment: Ray counts what others hold, and an autoscaler sees what is asked for. Without
    `wait_minutes` there is a short grace for what a run before this one is still giving back.
    """
    from ray.util.placement_group import placement_group, remove_placement_group

    problem = shortage(cluster, _nodes())
    if problem and not cluster.wait_minutes:
        raise ConfigError(f"cluster.workers={cluster.workers}: {problem}")
    room = placement_group([bundle(cluster)] * cluster.workers + [{"CPU": SPARE_CPUS}])
    try:
        if room.wait(timeout_seconds=QUICK_SECONDS):
            return
        say(f"waiting for the cluster: {problem or 'others hold what the workers need'}")
        if not room.wait(timeout_seconds=max(RELEASE_SECONDS, 60 * cluster.wait_minutes)):
            problem = (
                shortage(cluster, _nodes())
                or "others hold what they need; set cluster.wait_minutes to wait"
            )
            raise ConfigError(f"cluster.workers={cluster.workers}: {problem}")
    finally:
        remove_placement_group(room)


def bundle(cluster: Cluster) -> dict[str, float]:
    """The resources of one training worker."""
    return {"CPU": cluster.cpus_per_worker} | ({"GPU": 1} if cluster.gpu else {})


def shortage(cluster: Cluster, nodes: list[dict[str, float]]) -> str | None:
    """Why `nodes` (the resources of each) cannot hold the workers and leave SPARE_CPUS on one; None if they can."""
    need = bundle(cluster)
    each = " and ".join(f"{amount:g} {name}" for name, amount in need.items())
    fitting = sum(_fitting(node, need) for node in nodes)
    if fitting < cluster.workers:
        return f"the cluster has room for {fitting} workers of {each}"
    # A task that reads takes SPARE_CPUS of one node.
    roomy = [node for node in nodes if node.get("CPU", 0) >= SPARE_CPUS]
    lost = [
        _fitting(node, need) - _fitting(node | {"CPU": node["CPU"] - SPARE_CPUS}, need)
        for node in roomy
    ]
    if not lost or fitting - min(lost) < cluster.workers:
        total = sum(node.get("CPU", 0) for node in nodes)
        return (
            f"{cluster.workers} workers of {each} leave no node with {SPARE_CPUS:g} of the cluster's {total:g} CPUs "
            "for reading; lower cluster.cpus_per_worker"
        )
    return None


def _fitting(node: dict[str, float], need: dict[str, float]) -> int:
    return min(int(node.get(name, 0) / amount + 1e-9) for name, amount in need.items())


def _nodes() -> list[dict[str, float]]:
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _hush(quiet: bool) -> None:
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = not quiet
    context.enable_rich_progress_bars = False
    context.print_on_execution_start = False
    if quiet:
        for name in ("ray", "ray.data", "ray.train"):
            logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def hushed(quiet: bool) -> Iterator[None]:
    """Keep what Ray's C++ side writes to stderr off the console, where logging cannot reach it; exceptions pass."""
    if not quiet:
        yield
        return
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
