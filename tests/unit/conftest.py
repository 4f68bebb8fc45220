"""What unit tests share."""

import pytest

from pipeline.config import compose
from tests.helpers.composed import compose_once


@pytest.fixture(autouse=True)
def composed_once(monkeypatch):
    """Hydra reads some thirty files for each configuration, which takes it a tenth of a second."""
    monkeypatch.setattr(compose, "compose", compose_once)
