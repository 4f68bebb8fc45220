"""The stage `sweep`: what it refuses before any trial begins."""

import pytest

from pipeline.config.compose import load
from pipeline.core.errors import UserError
from pipeline.runs.untracked import Untracked
from pipeline.sweep.stage import sweep
from tests.helpers.searches import search_run
from tests.helpers.stores import write_store


def test_a_winner_that_cannot_be_measured_is_refused_before_the_search(tmp_path):
    store = write_store(
        str(tmp_path / "store"),
        load(["data.persons=1"]),
        lambda row: row | {"label": None},
    )
    run = search_run(
        tmp_path / "search",
        "data.persons=1",
        f"data.store={store}",
        "sweep.criterion.metric=alignment",
        "sweep.confirm=2",
    )
    with pytest.raises(UserError, match=r"confirm=2: the winner cannot be measured .* no label"):
        sweep(run, Untracked())
