"""What all tests share: for the whole session one Ray, one main job, one empty database."""

import gc
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

# Several xdist workers share the cores: more threads than one would wait for each other, spinning.
# Libraries read this when they are imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from tests.helpers import databases, examples, lanes, shared_ray
from tests.helpers.once import once, session_folder

# To look through the million objects of torch, Ray and MLflow again and again takes long.
gc.set_threshold(100_000, 50, 100)
# A shell lets what it starts in the background ignore Ctrl-C; the tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)
examples.load_profile()
shared_ray.make_token()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long tests first: xdist hands them out in this order (`--no-loadscope-reorder`)."""
    items.sort(key=lambda item: lanes.order_of(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Let the tests of a chain, or of a file, share a worker.

    `--dist loadgroup` is meant for it, and with pytest 9 groups nothing: xdist 3.8 writes the group
    into an attribute that is no longer read.
    """
    from xdist.scheduler import LoadFileScheduling

    class LaneScheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return lanes.group_of(nodeid)

    return LaneScheduling(config, log)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The temporary directory of the whole session, the same in every xdist worker."""
    return session_folder(tmp_path_factory)


@pytest.fixture(scope="session")
def session_ray(shared_folder: Path) -> str:
    """The session's Ray, for runs (`run(..., ray=session_ray)`) whose own Ray is not the point."""
    return once(shared_folder, "ray", lambda: shared_ray.start(shared_folder))


@pytest.fixture(scope="session")
def ray_session(session_ray: str) -> Iterator[ModuleType]:
    """Ray in this process, connected to the session's."""
    from pipeline.core.environment import prepare_environment

    prepare_environment()
    import ray
    import ray.data

    ray.init(
        address=session_ray,
        logging_level=logging.ERROR,
        log_to_driver=False,
        # The mark tells the processes of this worker's tests from those of others.
        runtime_env={"env_vars": {"PYTEST_CURRENT_RUN": str(os.getpid())}},
    )
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    yield ray
    ray.shutdown()


@pytest.fixture(scope="session")
def empty_database(shared_folder: Path, pytestconfig: pytest.Config) -> Path:
    """An MLflow database without runs, to copy."""
    return databases.template(shared_folder, pytestconfig.cache.mkdir("mlflow"))


@pytest.fixture(scope="session")
def main_job(shared_folder: Path) -> Path:
    """Output directory of the main job, run once a session, tiny, as a user runs it."""
    from tests.helpers.cli import MAIN_JOB, run

    def make() -> str:
        output = shared_folder / "main" / "run"
        output.parent.mkdir()
        done = run(*MAIN_JOB, "tracking.uri=null", f"output={output}")
        assert done.returncode == 0, done.stdout + done.stderr
        (output.parent / "stdout").write_text(done.stdout)
        (output.parent / "stderr").write_text(done.stderr)
        return str(output)

    return Path(once(shared_folder, "main_job", make))
