"""The manifest of a clip store: the file that makes a directory of Parquet shards a store.

`manifest.json` is written last and atomically. A directory without it is not a store, on a local
disk and on object storage alike. This module imports neither torch nor Ray, so that a missing store
is refused at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.store.manifest_form import first_problem

if TYPE_CHECKING:
    from models.skeleton import SkeletonLayout

MANIFEST = "manifest.json"
# Tables beside the shards: recordings that were refused, and flaws of those that were taken.
REJECTS = "rejects.csv"
FLAWS = "flaws.csv"

FORMAT = "skelfuse-clip-store"
FORMAT_VERSION = 2

# Stands for a null in the integer columns of a store, once they are numpy arrays or tensors.
UNKNOWN = -1

# What to do about a manifest that cannot be used.
WAY_OUT = "delete it, ingest again"


class DamagedStore(UserError):  # noqa: N818 - named after the store, which ingest can make again
    """The shards are not the ones that the manifest names."""


def read_manifest(uri: str) -> dict[str, Any]:
    """Read the manifest of a store and check it in itself. The shards are not looked at.

    Args:
        uri: directory of the store.

    Returns:
        The manifest.

    Raises:
        UserError: there is no store, or its manifest is missing, damaged, or of another version.
    """
    location = storage.join(uri, MANIFEST)
    if not storage.exists(location):
        if not storage.exists(uri):
            raise UserError(f"{uri}: no clip store there")
        raise UserError(
            f"{uri}: not a clip store, or half written ({MANIFEST} is missing); ingest it again"
        )
    manifest = storage.read_object(location)
    if manifest is None:
        raise UserError(f"{location}: damaged manifest: not a whole JSON object; {WAY_OUT}")
    if manifest.get("format") != FORMAT:
        raise UserError(f"{location}: not the manifest of a clip store")
    version = manifest.get("version")
    if version != FORMAT_VERSION:
        raise UserError(
            f"{uri}: clip store of version {version}, this program reads {FORMAT_VERSION}; "
            f"{WAY_OUT}"
        )
    problem = first_problem(manifest)
    if problem is not None:
        raise UserError(f"{location}: damaged manifest: {problem}; {WAY_OUT}")
    return manifest


def write_manifest(uri: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a directory of shards into a store. Write the manifest after every other file.

    Args:
        uri: directory of the store.
        manifest: all keys but `format` and `version`.

    Returns:
        The whole manifest.
    """
    whole = {"format": FORMAT, "version": FORMAT_VERSION, **manifest}
    storage.write_json(storage.join(uri, MANIFEST), whole)
    return whole


def layout_record(layout: SkeletonLayout) -> dict[str, Any]:
    """Return what a store keeps of a layout: name, joints, and parents (from 0)."""
    return {"name": layout.name, "joints": list(layout.joints), "parents": list(layout.parents)}


def checksum(data: bytes | memoryview) -> str:
    """Return the BLAKE2b digest (hex, 32 bytes) that manifests hold of every shard."""
    return hashlib.blake2b(data, digest_size=32).hexdigest()


def fingerprint(settings: Mapping[str, Any], shards: Sequence[Mapping[str, Any]]) -> str:
    """Return the identity of a store: a digest of what its rows mean and what they hold.

    Args:
        settings: the settings of ingest that decide what is in a row.
        shards: manifest entries in order, of which `content` counts.

    Returns:
        A BLAKE2b digest (hex, 16 bytes), equal for equal input, however many tasks wrote the
        shards.
    """
    content = [shard["content"] for shard in shards]
    record = {"settings": settings, "content": content}
    return hashlib.blake2b(json.dumps(record, sort_keys=True).encode(), digest_size=16).hexdigest()
