"""Moving an earlier run aside (`fresh=true`): what may be moved, and how.

Only a directory that holds a run is moved. A typing error in `output` could name anything: the
home directory, the recordings, somebody's thesis.
"""

import os
import time
import uuid

import yaml
from pyarrow import fs

from pipeline.config.root import STORE_FOLDER
from pipeline.core import storage
from pipeline.core.errors import ConfigError, UserError, first_line
from pipeline.runs import files

# The sections that every `config.yaml` of a run has, and hardly another file of that name.
OUR_SECTIONS = {"name", "stages", "data", "model", "objective", "train", "tracking"}
# Such a file has some ten kilobytes.
MAX_CONFIG_BYTES = 4 << 20
# The folders of an output that may be there before its run, and the one that ext4 makes.
PREPARED = (STORE_FOLDER, files.RAW, files.LOGS, "lost+found")
# The longest name of a file on most file systems, in bytes.
NAME_MAX = 255


def holds_run(uri: str) -> bool:
    """True if a directory holds a run: its configuration, and its state or at least our keys."""
    location = storage.join(uri, files.CONFIG)
    config = storage.info(location)
    if config.type != fs.FileType.File or config.size > MAX_CONFIG_BYTES:
        return False
    if storage.exists(storage.join(uri, files.STATE)):
        return True
    try:
        values = yaml.safe_load(storage.read_bytes(location))
    except (yaml.YAMLError, ValueError, RecursionError):
        return False
    return isinstance(values, dict) and values.keys() >= OUR_SECTIONS


def require_movable(uri: str) -> None:
    """Check that a directory can be moved aside.

    Args:
        uri: the output directory, which exists and is not empty.

    Raises:
        ConfigError: it holds no run, or it cannot get another name.
    """
    if not holds_run(uri):
        raise ConfigError(
            f"output={uri}: holds files but no run, so fresh=true does not move it; choose another"
        )
    _, path = storage.resolve(uri)
    if storage.is_remote(uri):
        # Of a bucket there is no other name beside it.
        if "/" not in path.strip("/"):
            raise ConfigError(f"output={uri}: cannot be moved aside; choose a path below it")
        return
    real = os.path.realpath(path)
    if os.path.ismount(real):
        raise ConfigError(
            f"output={uri}: a mount point, which cannot be moved aside; choose a directory in it"
        )
    if len(os.path.basename(_aside(real)).encode()) > NAME_MAX:
        raise ConfigError(f"output={uri}: its name is too long to be moved aside; choose another")


def foreign_names(uri: str) -> list[str]:
    """Return the names of what is in a directory and may be somebody else's.

    These are all files, and the folders of a local directory. What a user prepares for a run, and
    what file systems and programs hide everywhere, does not count.
    """
    names = [file.base_name for file in storage.files(uri)]
    # On object storage a folder is only a part of the names of the files in it.
    if storage.is_remote(uri):
        return names
    for name in storage.folders(uri):
        if name not in PREPARED and not name.startswith("."):
            names.append(name)
    return names


def move_aside(uri: str) -> str:
    """Move a directory to a new name beside it, which no other directory has.

    Where `uri` is a link, the directory that it leads to is moved, and an empty one takes its
    place.

    Returns:
        The new location.

    Raises:
        UserError: it cannot be moved.
    """
    filesystem, path = storage.resolve(uri)
    try:
        if isinstance(filesystem, fs.LocalFileSystem):
            real = os.path.realpath(path)
            aside = _aside(real)
            os.rename(real, aside)
            os.mkdir(real)
            return aside
        # Object storage has no rename: copy, then delete.
        base, options = storage.split_options(uri)
        aside = _aside(base) + options
        target = storage.resolve(aside)[1]
        fs.copy_files(path, target, source_filesystem=filesystem, destination_filesystem=filesystem)
        filesystem.delete_dir(path)
    except OSError as error:
        raise UserError(f"output={uri}: cannot be moved aside ({first_line(error)})") from error
    return aside


def _aside(path: str) -> str:
    """Return the name for an earlier run: with the time, and unique."""
    return f"{path.rstrip('/')}.{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
