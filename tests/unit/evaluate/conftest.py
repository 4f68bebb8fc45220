"""A small store and small encoders."""

import pytest

from pipeline.store.clip_store import ClipStore
from tests.helpers.encoders import export_both, small_config, split_of
from tests.helpers.stores import write_store


@pytest.fixture(scope="package")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("evaluate")


@pytest.fixture(scope="package")
def config(folder):
    config = small_config(folder)
    write_store(config.store, config)
    return config


@pytest.fixture(scope="package")
def store(config):
    return ClipStore.open(config.store)


@pytest.fixture(scope="package")
def by_cameras(store):
    return split_of(store, {"train": {"camera": [1, 2]}, "test": {"camera": [3]}})


@pytest.fixture
def encoders(config, tmp_path):
    return export_both(tmp_path, config)
