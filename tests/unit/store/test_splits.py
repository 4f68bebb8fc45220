"""Sides of a protocol that a classifier can be measured on."""

import pytest

from pipeline.core.errors import UserError
from pipeline.store.clip_store import ClipStore
from tests.helpers.encoders import small_config, split_of
from tests.helpers.stores import write_store


@pytest.mark.parametrize(
    ("changed", "sides", "message"),
    [
        (
            {},
            {"train": {"camera": [9]}, "test": "rest"},
            "no clip on its side 'train'",
        ),
        (
            {},
            {"train": {"camera": [1, 2]}, "test": {"camera": [2, 3]}},
            "clips on both its sides",
        ),
        (
            {},
            {"train": {"label": [0, 1]}, "test": "rest"},
            "never occur on the training side: 2, 3",
        ),
        (
            {"label": None},
            {"train": {"camera": [1]}, "test": "rest"},
            "have no label",
        ),
    ],
)
def test_sides_that_cannot_be_measured_are_refused(tmp_path, changed, sides, message):
    config = small_config(tmp_path)
    store = ClipStore.open(write_store(config.store, config, lambda row: row | changed))
    with pytest.raises(UserError, match=message):
        split_of(store, sides)
