"""The clips of pretraining: the training side of the run's own store, and further stores."""

from models.skeleton import SkeletonLayout
from pipeline.config.data import Data, PoolStore
from pipeline.core.errors import UserError
from pipeline.runs.directory import RunDirectory
from pipeline.runs.state import pool_key
from pipeline.runs.stores import open_store
from pipeline.store.clip_store import ClipStore
from pipeline.store.index import StoreIndex
from pipeline.store.protocols import Side, mask, parse_filter
from pipeline.stream.selection import Part


def open_pool(
    own: ClipStore,
    index: StoreIndex,
    layout: SkeletonLayout,
    sides: dict[str, Side],
    data: Data,
    directory: RunDirectory,
) -> list[Part]:
    """Open the stores of `data.pool`, and select the clips of pretraining.

    Args:
        own: the run's own clip store, its clips as models see them.
        index: the index of that store.
        layout: the skeleton layout that models see.
        sides: the sides `train` and `test` of the run's protocol.
        data: the section with the pool, the number of persons and the mapping of layouts.
        directory: the output directory, which records the content of all stores.

    Returns:
        First the training side of the run's own store, then the clips of every further store.

    Raises:
        UserError: a store is missing, damaged, changed since the run began, of a layout that
            cannot be mapped, or holds clips that the run is tested on.
    """
    # A pooled store may hold the same data set under another split.
    tested = set(index.clip_id[mask(index.columns, sides["test"])])
    parts = [Part(own, sides["train"])]
    for number, pooled in enumerate(data.pool):
        key = f"data.pool.{number}"
        store = open_store(pooled.store, pool_key(number), directory)
        side = _side(key, pooled)
        if store.manifest.get("dataset") == own.manifest.get("dataset"):
            _require_untested(key, store.index(), side, tested, sides["test"])
        seen = store.read_as(layout, data.persons, data.mapping)
        parts.append(Part(seen, side, pooled.weight))
    return parts


def _side(key: str, pooled: PoolStore) -> Side:
    """Return the filter for the clips of a further store, as one side of a protocol."""
    return Side(key, "clips", (parse_filter(f"{key}.clips", pooled.clips),))


def _require_untested(
    key: str, index: StoreIndex, side: Side, tested: set[str], test_side: Side
) -> None:
    """Raise UserError if pretraining would see clips that the run is tested on."""
    pooled = index.clip_id[mask(index.columns, side)]
    shared = tested.intersection(pooled)
    if shared:
        raise UserError(
            f"{key}: holds {len(shared)} clips of {test_side}, on which the run is tested, "
            f"for example {min(shared)}"
        )
