"""What the tests of the command line share."""

import shutil
from pathlib import Path

import pytest

from tests.helpers.cli import TRACKING_DATABASE


@pytest.fixture(scope="session", autouse=True)
def tracking(empty_database: Path) -> None:
    """Put an empty database at TRACKING: MLflow would take seconds to make it."""
    shutil.copy(empty_database, TRACKING_DATABASE)
