"""What all tests share: for the whole session one Ray, one main job, one empty database."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

# Several xdist workers share the cores: more threads than one would wait for each other, spinning.
# Libraries read this when they are imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from tests.helpers import databases, examples, shared_ray
from tests.helpers.once import once, session_folder

examples.load_profile()
shared_ray.make_token()

# The order of the lanes: what waits longest comes first, what computes fills the gaps.
LANES = ("e2e", "ray", "unit")
# Within e2e: a head with jobs takes longest; the main job is done when its page is looked at.
FIRST = ("test_jobs", "test_main_job", "test_resume", "test_walkthrough", "test_mlflow_page")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long tests first: xdist hands out files in this order (`--no-loadscope-reorder`)."""

    def order(item: pytest.Item) -> tuple[int, int]:
        lane = item.path.relative_to(item.config.rootpath / "tests").parts[0]
        place = FIRST.index(item.path.stem) if item.path.stem in FIRST else len(FIRST)
        return LANES.index(lane) if lane in LANES else len(LANES), place

    items.sort(key=order)


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
    from tests.helpers.cli import TINY, run

    def make() -> str:
        output = shared_folder / "main" / "run"
        output.parent.mkdir()
        done = run(*TINY, "tracking.uri=null", f"output={output}")
        assert done.returncode == 0, done.stdout + done.stderr
        (output.parent / "stdout").write_text(done.stdout)
        return str(output)

    return Path(once(shared_folder, "main_job", make))
