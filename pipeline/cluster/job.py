"""What this process knows of the Ray job that it runs in, and how it reaches storage."""

import json
import os

from pipeline.core.errors import ConfigError

# Where Ray describes the job to its driver.
JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
# Where Arrow looks for the address of S3-compatible storage.
ENDPOINT = "AWS_ENDPOINT_URL"


def in_submitted_job() -> bool:
    """True inside `ray job submit`, whose working directory may be a temporary copy."""
    return JOB in os.environ


def job_variables() -> dict[str, str]:
    """Return the environment variables that the job was submitted with.

    Ray refuses to be given one of them a second time.
    """
    description = json.loads(os.environ.get(JOB, "{}"))
    return description.get("runtime_env", {}).get("env_vars", {})


def reach_storage(endpoint: str | None) -> None:
    """Point this process, and the local Ray that it starts, to `cluster.storage_endpoint`.

    Raises:
        ConfigError: the job was submitted with another address.
    """
    if endpoint is None:
        return
    given = job_variables().get(ENDPOINT, endpoint)
    if given != endpoint:
        raise ConfigError(f"cluster.storage_endpoint={endpoint}: the job sets {ENDPOINT}={given}")
    os.environ[ENDPOINT] = endpoint
