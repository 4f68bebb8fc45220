"""MLflow databases for tests: MLflow takes five seconds to make one, so one is made and copied."""

import shutil
from pathlib import Path

from tests.helpers.once import once


def template(folder: Path, cache: Path) -> Path:
    """An empty tracking database of this MLflow, made once in `cache` and kept for later sessions.

    Args:
        folder: The session's shared directory.
        cache: Where the database is kept, under the name of MLflow's version.
    """
    from importlib.metadata import version

    kept = cache / f"mlflow-{version('mlflow')}.db"

    def make() -> str:
        if not kept.exists():
            made = folder / "template.db"
            create(f"sqlite:///{made}")
            # Renamed into place: a session that is killed here leaves no half of it.
            shutil.copy(made, kept.with_suffix(".part"))
            kept.with_suffix(".part").rename(kept)
        return str(kept)

    return Path(once(folder, "template", make))


def create(uri: str) -> None:
    """Let MLflow make its tables."""
    from mlflow.tracking import MlflowClient

    MlflowClient(tracking_uri=uri).search_experiments()
