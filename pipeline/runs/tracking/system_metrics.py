"""How busy this machine is, as metrics of an MLflow run: processors, memory, disk, network, GPUs.

The names and the measuring are MLflow's. Its own monitor is not used, because it ends for good when
the server does not answer once, and logs 8,640 rows a day.
"""

import time
from contextlib import suppress
from typing import Any

from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

from pipeline.runs.metric_names import STEP, TIME
from pipeline.runs.metric_rows import Row

PREFIX = "system/"
# The first samples are so far apart, in seconds. Later ones are further apart, so that a day has
# some hundred of them and a week not many more.
FIRST_SECONDS = 10.0
SAMPLES_A_DOUBLING = 150


class SystemMetrics:
    """Samples of how busy this machine is.

    Args:
        began: when the MLflow run began, in seconds since 1970.

    Attributes:
        next_sample: when the next sample is due, by `time.monotonic`.
    """

    def __init__(self, began: float) -> None:
        self._began = began
        self._monitors: list[Any] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
        # Without a GPU of NVIDIA, or without the library for it, MLflow or the library raises.
        with suppress(Exception):
            self._monitors.append(GPUMonitor())
        for monitor in self._monitors:
            # How busy the processors were is measured since the call before.
            monitor.collect_metrics()
            monitor.clear_metrics()
        self._started = time.monotonic()
        self.next_sample = self._started + FIRST_SECONDS

    def sample(self) -> Row:
        """Return a row of metrics. Its step is the number of seconds since the run began."""
        now = time.time()
        row: Row = {STEP: max(0, int(now - self._began)), TIME: now}
        for monitor in self._monitors:
            monitor.collect_metrics()
            for name, value in monitor.aggregate_metrics().items():
                row[PREFIX + name] = value
            monitor.clear_metrics()
        moment = time.monotonic()
        pause = max(FIRST_SECONDS, (moment - self._started) / SAMPLES_A_DOUBLING)
        self.next_sample = moment + pause
        return row
