"""Several stores as what one run pretrains on."""

from dataclasses import replace

import pytest

from pipeline.config.compose import load
from pipeline.config.identity import identity
from pipeline.core.errors import ConfigError, UserError
from pipeline.store.clip_store import ClipStore
from tests.helpers.runs import resolved
from tests.helpers.stores import write_store

MAPPED = "mapping@data.mapping=kinect_v2_to_kinect_v1"


@pytest.fixture
def stores(tmp_path):
    """A store of one person and 20 joints, and one of two persons and 25."""
    v1 = write_store(str(tmp_path / "v1"), load(["data=nw_ucla", "data.raw=x"]))
    return v1, write_store(str(tmp_path / "v2"), load(["data=ntu60", "data.raw=x"]))


def config(
    tmp_path, stores, *overrides, pool="{{store: {v2}, clips: {{camera: [2, 3]}}, weight: 0.5}}"
):
    v1, v2 = stores
    entry = pool.format(v1=v1, v2=v2)
    places = [f"data.store={v1}", f"output={tmp_path / 'run'}"]
    return load(["data=nw_ucla", *places, f"data.pool=[{entry}]", *overrides])


def test_the_pool_joins_the_training_side_in_its_layout(tmp_path, stores):
    settings = config(tmp_path, stores, MAPPED)
    moved = config(tmp_path, ("elsewhere", "elsewhere"), MAPPED)
    assert identity(settings) == identity(moved)
    run = resolved(settings)
    own, pooled = run.pool
    assert (own.weight, str(own.side), own.store.conversion) == (1.0, "cross_view.train", None)
    assert (pooled.weight, pooled.store.joints, pooled.store.persons) == (0.5, 20, 1)
    cameras = pooled.store.index().camera
    assert set(cameras[pooled.store.select(pooled.side)]) == {2, 3}
    whole = ClipStore.open(stores[1])
    assert (pooled.store.clip(5) == whole.clip(5)[:, :1, :20]).all()
    stores_of_run = run.directory.state.stores
    assert stores_of_run["store"] != stores_of_run["pool_0"] == whole.fingerprint


def test_another_store_in_the_same_place_is_noticed(tmp_path, stores):
    settings = config(tmp_path, stores, MAPPED)
    run = resolved(settings)
    assert len(run.pool) == 2

    def spoiled(row):
        return row | {"joints": row["joints"] * 2}

    write_store(stores[1], load(["data=ntu60", "data.raw=x"]), spoiled)
    with pytest.raises(UserError, match=r"not the clips that .* was begun with"):
        replace(run).pool  # noqa: B018 - opened anew, as after a restart


def test_a_pool_never_holds_what_the_run_is_tested_on(tmp_path, stores):
    same = "{{store: {v1}, clips: {{camera: [2, 3]}}, weight: 1.0}}"
    settings = config(tmp_path, stores, pool=same)
    with pytest.raises(
        UserError,
        match=r"data\.pool\.0: holds \d+ clips of cross_view\.test, on which the run is tested",
    ):
        resolved(settings).pool  # noqa: B018
    settings = config(tmp_path, stores, pool=same.replace("2, 3", "1, 2"))
    assert len(resolved(settings).pool) == 2


def test_a_pool_that_does_not_fit_is_named(tmp_path, stores):
    with pytest.raises(UserError, match="skeleton layout 'kinect_v2'"):
        resolved(config(tmp_path, stores)).pool  # noqa: B018
    with pytest.raises(ConfigError, match=r"data\.pool\.0\.clips\.colour: not a filter column"):
        resolved(
            config(tmp_path, stores, pool="{{store: {v2}, clips: {{colour: [2]}}, weight: 1}}")
        )
    with pytest.raises(ConfigError, match=r"data\.pool\.0\.weight=0"):
        config(tmp_path, stores, pool="{{store: {v2}, clips: {{}}, weight: 0.0}}")
    gone = config(tmp_path, stores, MAPPED, pool="{{store: {v2}/gone, clips: {{}}, weight: 1.0}}")
    with pytest.raises(UserError, match="gone: no clip store there"):
        resolved(gone).pool  # noqa: B018
