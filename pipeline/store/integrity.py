"""Whether the shards of a store are those that its manifest names.

    at every opening    each shard is there and has its size: one listing of the directory
    once in a run       each shard has its checksum and columns, and clips have the size that the
                        manifest says: every byte is read, at about 0.8 GB/s on two cores

What was found to be right once is remembered by a stamp, which changes with the manifest and with
the size and date of every shard.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import storage
from pipeline.core.errors import UserError, first_line
from pipeline.store.manifest import MANIFEST, DamagedStore
from pipeline.store.shards import FIELDS

# Hashing frees Python's lock, and reading waits for the storage.
THREADS = 4
CHUNK_BYTES = 8 << 20

# Called with the bytes that are done and all bytes.
Progress = Callable[[int, int], None]


def require_files(uri: str, manifest: Mapping[str, Any]) -> str:
    """Check that every shard is there, with its size.

    Args:
        uri: directory of the store.
        manifest: of the store.

    Returns:
        The stamp of the store.

    Raises:
        DamagedStore: a shard is missing or has another size.
    """
    present = {entry.base_name: entry for entry in storage.files(uri)}
    digest = hashlib.blake2b(json.dumps([uri, manifest], sort_keys=True).encode(), digest_size=16)
    for shard in manifest["shards"]:
        name = shard["name"]
        if name not in present:
            raise DamagedStore(
                f"{uri}: clip store is incomplete: {name} is missing; {way_out(uri)}"
            )
        size = present[name].size
        if size != shard["bytes"]:
            raise DamagedStore(
                f"{uri}: clip store is damaged: {name} has {size} bytes, "
                f"its manifest says {shard['bytes']}; {way_out(uri)}"
            )
        digest.update(f"{name}\t{size}\t{present[name].mtime_ns}\n".encode())
    return digest.hexdigest()


def way_out(uri: str) -> str:
    """Return what to do about a damaged shard."""
    return f"copy it again, or delete {storage.join(uri, MANIFEST)} and ingest again"


def verify(uri: str, manifest: Mapping[str, Any], progress: Progress | None = None) -> None:
    """Read every shard, and compare it with what the manifest says of it.

    Args:
        uri: directory of the store.
        manifest: of the store.
        progress: called whenever a shard is done.

    Raises:
        DamagedStore: a shard differs.
        UserError: a shard cannot be read.
    """
    shards = manifest["shards"]
    total = sum(shard["bytes"] for shard in shards)
    done = 0
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="checksum")
    try:
        sizes = {pool.submit(_verify_shard, uri, shard): shard["bytes"] for shard in shards}
        for finished in as_completed(sizes):
            finished.result()
            done += sizes[finished]
            if progress is not None:
                progress(done, total)
    finally:
        # After a damaged shard the others do not matter.
        pool.shutdown(cancel_futures=True)
    if shards:
        _require_size_of_clips(uri, manifest)


def _verify_shard(uri: str, shard: Mapping[str, Any]) -> None:
    """Compare the checksum, the columns and the rows of one shard."""
    location = storage.join(uri, shard["name"])
    if _checksum(location) != shard["checksum"]:
        raise DamagedStore(
            f"{location}: clip store is damaged: this shard fails its checksum; {way_out(uri)}"
        )
    filesystem, path = storage.resolve(location)
    try:
        with pq.ParquetFile(path, filesystem=filesystem) as file:
            schema = file.schema_arrow
            metadata = file.metadata
            groups = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
    except (pa.ArrowException, OSError) as error:
        raise DamagedStore(f"{location}: not a shard ({first_line(error)})") from None
    require_columns(location, schema, FIELDS.names)
    if groups != shard["row_groups"]:
        raise DamagedStore(
            f"{location}: clip store is damaged: row groups of {groups} rows, "
            f"its manifest says {shard['row_groups']}; {way_out(uri)}"
        )


def require_columns(location: str, schema: pa.Schema, names: Sequence[str]) -> None:
    """Check that a shard has columns of the right types.

    Raises:
        DamagedStore: it has not.
    """
    for name in names:
        wanted = FIELDS.field(name).type
        position = schema.get_field_index(name)
        if position < 0:
            raise DamagedStore(f"{location}: not a shard of this version: no column {name!r}")
        if not schema.field(position).type.equals(wanted):
            raise DamagedStore(
                f"{location}: not a shard of this version: column {name!r} is "
                f"{schema.field(position).type}, not {wanted}"
            )


def _checksum(location: str) -> str:
    """Return the checksum of a file (see `pipeline.store.manifest.checksum`), read in chunks."""
    digest = hashlib.blake2b(digest_size=32)
    filesystem, path = storage.resolve(location)
    try:
        with filesystem.open_input_stream(path, compression=None) as stream:
            for chunk in iter(lambda: stream.read(CHUNK_BYTES), b""):
                digest.update(chunk)
    except OSError as error:
        raise UserError(f"{location}: cannot be read ({first_line(error)})") from error
    return digest.hexdigest()


def _require_size_of_clips(uri: str, manifest: Mapping[str, Any]) -> None:
    """Check that clips hold the joints and persons of the manifest, in the first row group."""
    location = storage.join(uri, manifest["shards"][0]["name"])
    filesystem, path = storage.resolve(location)
    with pq.ParquetFile(path, filesystem=filesystem) as file:
        table = file.read_row_group(0, columns=["num_frames", "joints"])
    joints = len(manifest["layout"]["joints"])
    persons = manifest["persons"]
    frames = table["num_frames"].to_numpy().astype(np.int64)
    sizes = np.array([len(clip.as_buffer()) for clip in table["joints"]], np.int64)
    wrong = np.flatnonzero(sizes != frames * persons * joints * 3 * 4)
    if len(wrong):
        raise DamagedStore(
            f"{location}: clip {wrong[0]} is not one of {persons} persons with {joints} joints, "
            f"as {MANIFEST} says; delete the store, ingest again"
        )
