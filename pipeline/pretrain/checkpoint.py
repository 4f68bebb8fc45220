"""Checkpoints: everything that training needs to go on as if nothing had happened.

    checkpoints/
      attempt-20260131-235959-0a1b2c3d/   one directory for every start of the training
        step-00000120/                    one for every checkpoint, named by its updates
          state.pt                        framework, optimiser and the newest rows of metrics
          meta.json                       position, and size and hash of state.pt

Ray Train copies a checkpoint's directory to the run's storage and may be killed while it does.
`meta.json` shows that a checkpoint was copied only in part; then an older, whole one is taken.
"""

import hashlib
import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pyarrow import fs
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.core import storage
from pipeline.core.console import say
from pipeline.core.errors import UserError
from pipeline.pretrain.cadence import Position

STATE = "state.pt"
META = "meta.json"


class _Meta(BaseModel):
    """The content of `meta.json`: the position, and the size and hash of `state.pt`."""

    model_config = ConfigDict(strict=True)

    epoch: int = Field(ge=0)
    step: int = Field(ge=0)
    updates: int = Field(ge=0)
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint that was read; its tensors are on the CPU.

    Args:
        uri: its directory.
        position: where training stood.
        state: `framework`, `optimiser`, and `history`, the newest rows of metrics until then. Older
            versions kept all rows there, and the keys `config` and `threads`.
    """

    uri: str
    position: Position
    state: dict[str, Any]


def directory(updates: int) -> str:
    """Name of the directory of the checkpoint after so many updates."""
    return f"step-{updates:08d}"


def save(directory: str | Path, position: Position, state: dict[str, Any]) -> None:
    """Write a checkpoint, on a local disk or on object storage.

    Args:
        directory: where; it is made if it does not exist.
        position: where training stands.
        state: tensors, numbers, strings, and containers of them.

    Raises:
        UserError: it cannot be written.
    """
    uri = str(directory)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getvalue()
    storage.write_bytes(storage.join(uri, STATE), data)
    meta = asdict(position) | {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    # Last: it shows that the checkpoint is whole.
    storage.write_json(storage.join(uri, META), meta)


def load(uri: str) -> Checkpoint:
    """Read a whole checkpoint. Nothing in the file is executed (`weights_only`).

    Raises:
        UserError: it is incomplete or damaged.
    """
    checkpoint = _load_if_whole(uri)
    if checkpoint is None:
        raise UserError(f"{uri}: checkpoint is incomplete or damaged")
    return checkpoint


def newest(uri: str) -> Checkpoint | None:
    """The whole checkpoint with most updates below `uri`, over all attempts; None without any."""
    _, base = storage.resolve(uri)
    directories = []
    for file in storage.files(uri, recursive=True):
        if file.base_name == META:
            below = file.path.removeprefix(base).strip("/").removesuffix(f"/{META}")
            directories.append(storage.join(uri, below))
    # Names have leading zeros, so that their order is that of their updates.
    for candidate in sorted(directories, key=storage.name, reverse=True):
        checkpoint = _load_if_whole(candidate)
        if checkpoint is not None:
            return checkpoint
        say(f"  {candidate}: checkpoint is incomplete or damaged, and passed over")
    return None


def prune(uri: str, keep: str | None) -> None:
    """Delete the checkpoints of earlier attempts below `uri`, except `keep`."""
    filesystem, base = storage.resolve(uri)
    kept = None
    if keep is not None:
        _, kept = storage.resolve(keep)
    for attempt in filesystem.get_file_info(fs.FileSelector(base, allow_not_found=True)):
        if kept is None or not kept.startswith(f"{attempt.path}/"):
            filesystem.delete_dir(attempt.path)
            continue
        for entry in filesystem.get_file_info(fs.FileSelector(attempt.path)):
            if entry.type == fs.FileType.Directory and entry.path != kept:
                filesystem.delete_dir(entry.path)


def _load_if_whole(uri: str) -> Checkpoint | None:
    """Read a checkpoint once, and check the very bytes that are loaded."""
    meta = _read_meta(storage.join(uri, META))
    if meta is None:
        return None
    try:
        data = storage.read_bytes(storage.join(uri, STATE))
    except UserError:
        return None
    if len(data) != meta.bytes or hashlib.sha256(data).hexdigest() != meta.sha256:
        return None
    state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return Checkpoint(uri, Position(meta.epoch, meta.step, meta.updates), state)


def _read_meta(uri: str) -> _Meta | None:
    """Read `meta.json`. None if it is missing or damaged: nobody knows then what lies beside it."""
    try:
        return _Meta.model_validate(storage.read_object(uri))
    except (UserError, ValidationError):
        return None
