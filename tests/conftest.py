"""What tests share: one local Ray for all that need it."""

import logging
import os

import pytest
from hypothesis import settings

from tests.helpers.paths import ROOT

# How long an example takes says more about the machine than about the code.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")


@pytest.fixture(scope="session")
def ray_session():
    """A Ray of this process with 2 CPUs and half a gigabyte of object store, whose workers import this checkout."""
    from pipeline.cluster.session import prepare_environment

    prepare_environment()
    import ray
    import ray.data

    python_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    ray.init(
        address="local",
        num_cpus=2,
        object_store_memory=512 << 20,
        include_dashboard=False,
        logging_level=logging.ERROR,
        log_to_driver=False,
        # The mark tells the processes of this Ray from those of others on the machine.
        runtime_env={
            "env_vars": {"PYTHONPATH": python_path, "PYTEST_CURRENT_RUN": str(os.getpid())}
        },
    )
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    yield ray
    ray.shutdown()


@pytest.fixture(scope="session")
def main_job(tmp_path_factory):
    """Output directory of the main job, run once, tiny, as a user runs it."""
    from tests.helpers.cli import TINY, run

    output = tmp_path_factory.mktemp("main") / "run"
    done = run(*TINY, "tracking.uri=null", f"output={output}")
    assert done.returncode == 0, done.stdout + done.stderr
    (output.parent / "stdout").write_text(done.stdout)
    return output
