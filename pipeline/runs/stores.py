"""Opening the clip stores of a run: with the clips that it began with, and with the right bytes.

A store is read and compared with its checksums once in a run. `run.json` remembers that, so that
the next start does not read it again unless a file has another size or date.
"""

from models.skeleton import SkeletonLayout
from pipeline.core import storage
from pipeline.core.console import Bar, say
from pipeline.runs.directory import RunDirectory
from pipeline.store.clip_store import ClipStore

# A larger store on object storage is not read for its checksums alone: all of it would go over the
# network, and object storage keeps checksums of its own.
LARGEST_REMOTE_BYTES = 8 << 30

MEGABYTE = 1 << 20

# The stamps of the stores that this process has verified. The trials of a sweep share their store.
_VERIFIED: set[str] = set()


def open_store(
    uri: str, key: str, directory: RunDirectory, layout: SkeletonLayout | None = None
) -> ClipStore:
    """Open a store of a run, and verify it if nobody has yet.

    Args:
        uri: directory of the store.
        key: the name of the store in `RunState.stores`.
        directory: the output directory, which remembers the content of the store.
        layout: the layout that the store must have, or None for any.

    Raises:
        UserError: the store is missing, damaged, of another layout, or holds other clips than those
            that the run began with.
    """
    store = ClipStore.open(uri, layout)
    directory.claim(key, store.fingerprint, store.uri)
    if store.stamp not in (directory.state.verified.get(key), *_VERIFIED):
        _verify(store)
    trust(store, key, directory)
    return store


def trust(store: ClipStore, key: str, directory: RunDirectory) -> None:
    """Remember that a store was verified, or was written just now."""
    _VERIFIED.add(store.stamp)
    if directory.state.verified.get(key) != store.stamp:
        directory.state.verified[key] = store.stamp
        directory.save()


def _verify(store: ClipStore) -> None:
    """Compare a store with its checksums, with a line of progress where it takes long."""
    size = sum(shard["bytes"] for shard in store.manifest["shards"])
    if storage.is_remote(store.uri) and size > LARGEST_REMOTE_BYTES:
        say(
            f"  {store.uri}: {size / 1e9:.0f} GB on object storage; "
            "sizes were checked, checksums are left to it"
        )
        return
    with Bar("checking the store", unit="MB") as bar:
        store.verify(lambda done, total: bar.update(done // MEGABYTE, total // MEGABYTE))
