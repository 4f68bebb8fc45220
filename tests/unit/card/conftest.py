"""The layout of the planted clips."""

import pytest

from models.skeleton import SkeletonLayout
from tests.helpers.planted import planted_layout


@pytest.fixture(scope="module")
def layout() -> SkeletonLayout:
    return planted_layout()
