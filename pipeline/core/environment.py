"""What the libraries read from the environment, set before they are imported."""

import os

# Nothing phones home, and no library talks over the run's own output, unless the user set the
# variable.
DEFAULTS = {
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
    """Set what Ray and MLflow read when they are imported. Call this before importing either."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
