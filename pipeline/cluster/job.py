"""The Ray job that this process may run in, and the address of its object storage."""

import json
import os

from pipeline.core.environment import SUBMITTED_JOB as JOB
from pipeline.core.errors import ConfigError

# The address with which Ray looks for a cluster itself.
AUTO = "auto"
# The address with which `ray.init` starts a Ray for this run alone.
LOCAL = "local"
# The environment variable from which Arrow takes the address of S3-compatible storage.
ENDPOINT = "AWS_ENDPOINT_URL"


def in_submitted_job() -> bool:
    """True if `ray job submit` started this process. Its directory may be a temporary copy."""
    return JOB in os.environ


def require_named_cluster(address: str | None) -> None:
    """Check that a run outside a submitted job does not join a cluster that it does not name.

    Args:
        address: `cluster.address`.

    Raises:
        ConfigError: the address is `auto`, outside a submitted job.
    """
    if address == AUTO and not in_submitted_job():
        raise ConfigError(
            f"cluster.address={AUTO}: outside a submitted job it would join whatever Ray is found "
            "from this machine; start the run with `ray job submit`, name a cluster with "
            "cluster.address=HOST:6379, or let cluster.address=null start a Ray for it"
        )


def job_variables() -> dict[str, str]:
    """Return the environment variables that the job was submitted with.

    `ray.init` must not set them again: Ray would refuse it.
    """
    description = json.loads(os.environ.get(JOB, "{}"))
    return description.get("runtime_env", {}).get("env_vars", {})


def job_id() -> str | None:
    """Return the id that `ray job submit` gave this job, None outside a submitted job."""
    description = json.loads(os.environ.get(JOB, "{}"))
    return description.get("metadata", {}).get("job_submission_id")


def reach_storage(endpoint: str | None) -> None:
    """Set the address of object storage for this process and a local Ray that it starts.

    Args:
        endpoint: `cluster.storage_endpoint`; None or nothing leaves the environment as it is.

    Raises:
        ConfigError: the job was submitted with another address.
    """
    if not endpoint:
        return
    given = job_variables().get(ENDPOINT, endpoint)
    if given != endpoint:
        raise ConfigError(f"cluster.storage_endpoint={endpoint}: the job sets {ENDPOINT}={given}")
    os.environ[ENDPOINT] = endpoint
