"""The Ray that a benchmark measures on: its own, or the one that this process is connected to."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray
import ray.data

ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def connected_ray(cpus: int, object_store_bytes: int | None = None) -> Iterator[None]:
    """Start a Ray with so many CPUs, and end it on leaving.

    A process that is connected to a Ray already, as a test is, stays connected to that one: its
    figures say nothing then, only that the benchmark works.
    """
    if ray.is_initialized():
        yield
        return
    # Workers of the Ray that this process starts inherit its environment.
    python_path = [str(ROOT)]
    if "PYTHONPATH" in os.environ:
        python_path.append(os.environ["PYTHONPATH"])
    os.environ["PYTHONPATH"] = os.pathsep.join(python_path)
    ray.init(
        address="local",
        num_cpus=cpus,
        object_store_memory=object_store_bytes,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    try:
        yield
    finally:
        ray.shutdown()
