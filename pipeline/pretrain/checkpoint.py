"""Checkpoints: everything that training needs to go on as if nothing had happened, found again after any kill.

Ray Train copies a checkpoint's directory to the run's storage and may be killed while it does; `meta.json` holds the
size and hash of `state.pt`, so that a half-copied checkpoint is recognised and an older whole one is taken.
"""

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pyarrow import fs

from pipeline.core import storage
from pipeline.core.errors import UserError

STATE = "state.pt"
META = "meta.json"


@dataclass(frozen=True)
class Position:
    """Where training stands: `step` micro-batches of epoch `epoch` are done, `updates` optimiser steps in all."""

    epoch: int
    step: int
    updates: int


def directory(updates: int) -> str:
    """Name of the directory of the checkpoint after so many updates."""
    return f"step-{updates:08d}"


def save(directory: str | Path, position: Position, state: dict[str, Any]) -> None:
    """Write a checkpoint into a local directory. `state` holds tensors, numbers, strings and containers of them."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getvalue()
    Path(directory, STATE).write_bytes(data)
    meta = {**vars(position), "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    Path(directory, META).write_text(json.dumps(meta))


def load(uri: str) -> tuple[Position, dict[str, Any]]:
    """Read a whole checkpoint; tensors on the CPU. Nothing in the file is executed (`weights_only`).

    Raises UserError where the checkpoint is incomplete or damaged.
    """
    found = _read(uri)
    if found is None:
        raise UserError(f"{uri}: checkpoint is incomplete or damaged")
    meta, data = found
    state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return Position(meta["epoch"], meta["step"], meta["updates"]), state


def position(uri: str) -> Position:
    """Where a whole checkpoint stands."""
    meta = storage.read_json(storage.join(uri, META))
    return Position(meta["epoch"], meta["step"], meta["updates"])


def newest(uri: str) -> str | None:
    """The whole checkpoint with most updates below `uri` (attempts / checkpoints), None where there is none."""
    metas = [entry.path for entry in storage.files(uri, recursive=True) if entry.base_name == META]
    base = storage.resolve(uri)[1]
    candidates = [
        storage.join(uri, path.removeprefix(base).strip("/").removesuffix("/" + META))
        for path in metas
    ]
    for candidate in sorted(
        candidates, key=storage.name, reverse=True
    ):  # step-00000120 sorts by its number
        if _read(candidate):
            return candidate
    return None


def prune(uri: str, keep: str | None) -> None:
    """Delete the checkpoints of earlier attempts below `uri`, except `keep`."""
    filesystem, base = storage.resolve(uri)
    kept = storage.resolve(keep)[1] if keep else None
    attempts = filesystem.get_file_info(fs.FileSelector(base, allow_not_found=True))
    for attempt in attempts:
        if kept is None or not kept.startswith(f"{attempt.path}/"):
            filesystem.delete_dir(attempt.path)
            continue
        for entry in filesystem.get_file_info(fs.FileSelector(attempt.path)):
            if entry.type == fs.FileType.Directory and entry.path != kept:
                filesystem.delete_dir(entry.path)


def _read(uri: str) -> tuple[dict[str, Any], bytes] | None:
    try:
        meta = storage.read_json(storage.join(uri, META))
        data = storage.read_bytes(storage.join(uri, STATE))
    except UserError:
        return None
    whole = len(data) == meta.get("bytes") and hashlib.sha256(data).hexdigest() == meta.get(
        "sha256"
    )
    return (meta, data) if whole else None
