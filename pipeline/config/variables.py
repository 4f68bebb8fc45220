"""The environment variables that a configuration may read with `${oc.env:NAME}`.

The values of a configuration go into `config.yaml`, MLflow and pages. An environment also holds
keys and passwords, and a configuration may come from others. So only listed variables are read.
"""

import os
from typing import Any

from pipeline.core.errors import ConfigError

# Variables that begin like this are the user's own, made for this program.
PREFIX = "SKELFUSE_"
NAMES = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_EXPERIMENT_NAME",
    "HOME",
    "USER",
    "LOGNAME",
    "HOSTNAME",
    "PWD",
    "TMPDIR",
    "SCRATCH",
    "WORK",
    "SLURM_JOB_ID",
    "SLURM_ARRAY_TASK_ID",
    "SLURM_TMPDIR",
)
# Stands for "no default was given", because None is a default.
_NO_DEFAULT = object()


def read_variable(name: str, default: Any = _NO_DEFAULT) -> str | None:
    """Return the value of an environment variable. One that is empty counts as unset.

    Args:
        name: of the variable.
        default: the value if it is not set.

    Raises:
        ConfigError: the variable is not one that a configuration may read, or it is not set and has
            no default. The message never has the value.
    """
    if not name.startswith(PREFIX) and name not in NAMES:
        raise ConfigError(
            f"${{oc.env:{name}}}: a configuration may not read this variable, only {PREFIX}* and "
            f"{', '.join(NAMES)}"
        )
    value = os.environ.get(name, "")
    if value:
        return value
    if default is _NO_DEFAULT:
        raise ConfigError(f"${{oc.env:{name}}}: this environment variable is not set")
    return None if default is None else str(default)
