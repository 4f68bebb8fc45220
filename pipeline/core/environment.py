"""Environment variables that Ray and MLflow read when they are imported."""

import os

# A variable that the user has set keeps its value.
DEFAULTS = {
    # No library sends usage statistics to its makers.
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    # A Ray task without a GPU leaves CUDA_VISIBLE_DEVICES as it is. Ray warns if this is not set.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # The run measures its own speed.
    "RAY_TRAIN_METRICS_ENABLED": "0",
    # Progress bars of libraries would mix with the run's own lines.
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
    # The defaults of MLflow wait for many minutes before they report that no server answers.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


def prepare_environment() -> None:
    """Set the defaults. Call this before importing Ray or MLflow."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
