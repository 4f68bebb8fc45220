"""Environment variables that Ray, MLflow and matplotlib read when they are imported."""

import os

# A variable that the user has set keeps its value.
DEFAULTS = {
    # No library sends usage statistics to its makers.
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    # A Ray task without a GPU leaves CUDA_VISIBLE_DEVICES as it is. Ray warns if this is not set.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # SIGTERM is no failure: Ray's C++ side would write its stack for it, and abort after 3 seconds.
    # Python still writes where it was when a process crashes.
    "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1",
    # How often a process that waits for Ray looks for signals.
    "RAY_get_check_signal_interval_milliseconds": "100",
    # The run measures its own speed.
    "RAY_TRAIN_METRICS_ENABLED": "0",
    # The trials of a sweep: Tune writes and prints nothing of its own, does not move a trial into
    # another directory, and leaves Ctrl-C to the run.
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # A report without the criterion is no error: the trial collapsed, or no scheduler looks at it.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    # Progress bars of libraries would mix with the run's own lines.
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
    # MLflow prints two lines for every run that ends on a server, and a sweep has hundreds.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # The defaults of MLflow wait for many minutes before they report that no server answers.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
# Jupyter and Colab set MPLBACKEND to a backend that draws into their pages, for every process that
# they start. matplotlib fails to start where it is not installed. Pictures here go into files.
MATPLOTLIB = {"MPLBACKEND": "agg"}
# Under `uv run` Ray copies the working directory to its workers, whatever lies in it, and fails at
# 512 MB. A Ray on this machine needs no copy. In a submitted job the user has chosen what to copy.
UV = {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
# The environment variable in which Ray describes a job to its driver.
SUBMITTED_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"


def prepare_environment() -> None:
    """Set the variables. Call this before importing Ray, MLflow or matplotlib."""
    defaults = dict(DEFAULTS)
    if SUBMITTED_JOB not in os.environ:
        defaults |= UV
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    os.environ.update(MATPLOTLIB)
