"""Where files lie, on a local disk and on object storage alike.

Every file that a run touches goes through `pyarrow.fs`. A location is a local path, a `file://`
URI, or a URI that Arrow knows (`s3://bucket/key`, `gs://...`, `hdfs://...`), with its options after
`?` where it needs some (`s3://bucket/key?endpoint_override=http://host:9000`).
"""

import json
import os
import stat
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import pyarrow as pa
from pyarrow import fs

from pipeline.core.errors import UserError, first_line


def is_remote(uri: str) -> bool:
    """True for a URI with a scheme other than `file`."""
    return "://" in uri and not uri.startswith("file://")


def absolute(uri: str) -> str:
    """Return the location so that it means the same in every process.

    Local paths become absolute; URIs stay as they are.
    """
    if is_remote(uri):
        return uri
    path = uri.removeprefix("file://")
    return os.path.abspath(os.path.expanduser(path))


def join(uri: str, *parts: str) -> str:
    """Return the location below `uri`; options after `?` stay at the end."""
    base, options = _split_options(uri)
    return "/".join([base.rstrip("/"), *parts]) + options


def name(uri: str) -> str:
    """Return the last part of a location."""
    base, _ = _split_options(uri)
    return base.rstrip("/").rsplit("/", 1)[-1]


def _split_options(uri: str) -> tuple[str, str]:
    """Return a location without its options, and the options with their `?`."""
    if not is_remote(uri):
        return uri, ""
    base, mark, options = uri.partition("?")
    return base, mark + options


def resolve(uri: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of a location and the path in it.

    Raises:
        UserError: no file system of Arrow takes this URI, or a local path is not UTF-8.
    """
    if not is_remote(uri):
        path = absolute(uri)
        try:
            path.encode()
        except UnicodeEncodeError:
            raise UserError(f"{uri!a}: not a path in UTF-8") from None
        return fs.LocalFileSystem(), path
    try:
        return fs.FileSystem.from_uri(uri)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise UserError(f"{uri}: not a location that can be read ({first_line(error)})") from error


def info(uri: str) -> fs.FileInfo:
    """Return type and size of what lies at a location (`FileType.NotFound` where nothing does).

    Raises:
        UserError: the storage cannot be asked (no network, no permission).
    """
    filesystem, path = resolve(uri)
    try:
        return filesystem.get_file_info(path)
    except OSError as error:
        raise UserError(f"{uri}: cannot be read ({first_line(error)})") from error


def exists(uri: str) -> bool:
    """True where a file or directory lies at `uri`."""
    return info(uri).type != fs.FileType.NotFound


def is_directory(uri: str) -> bool:
    """True where a directory (or, on object storage, anything below that prefix) lies at `uri`."""
    return info(uri).type == fs.FileType.Directory


def files(uri: str, recursive: bool = False) -> list[fs.FileInfo]:
    r"""Return the files in a directory, sorted by path; none where the directory does not exist.

    On a local disk links are followed, to files and to directories, except to a directory that the
    path goes through already. A name that is not UTF-8 is given with its bytes as `\xff`; Arrow
    finds no file of that name.

    Raises:
        UserError: the directory cannot be listed.
    """
    filesystem, path = resolve(uri)
    try:
        if isinstance(filesystem, fs.LocalFileSystem):
            found = list(_walk(path, recursive))
        else:
            selector = fs.FileSelector(path, allow_not_found=True, recursive=recursive)
            found = filesystem.get_file_info(selector)
    except OSError as error:
        raise UserError(f"{uri}: cannot be listed ({first_line(error)})") from error
    only_files = [entry for entry in found if entry.type == fs.FileType.File]
    return sorted(only_files, key=lambda entry: entry.path)


# A directory by device and inode: the same directory under every name.
_Inode = tuple[int, int]


def _walk(directory: str, recursive: bool) -> Iterator[fs.FileInfo]:
    """Yield the files of a local directory.

    Arrow's own listing goes round in circles of links, and fails at a name that is not UTF-8.
    """
    # Each with the directories that the path to it goes through.
    pending: list[tuple[str, frozenset[_Inode]]] = [(directory, frozenset())]
    while pending:
        current, above = pending.pop()
        # A directory that is gone meanwhile holds no files.
        with suppress(FileNotFoundError), os.scandir(current) as entries:
            through = above | {_inode(os.stat(current))}
            for entry in entries:
                status = _status(entry)
                if status is None:
                    continue
                if stat.S_ISREG(status.st_mode):
                    yield _file_info(entry, status)
                elif recursive and stat.S_ISDIR(status.st_mode) and _inode(status) not in through:
                    pending.append((entry.path, through))


def _inode(status: os.stat_result) -> _Inode:
    return status.st_dev, status.st_ino


def _file_info(entry: os.DirEntry[str], status: os.stat_result) -> fs.FileInfo:
    path = os.fsencode(entry.path).decode(errors="backslashreplace")
    size = status.st_size
    return fs.FileInfo(path, fs.FileType.File, size=size, mtime_ns=status.st_mtime_ns)


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    """Return what an entry, or what it links to, is.

    None for a link that leads nowhere, and for what is gone meanwhile.
    """
    try:
        return entry.stat()
    except FileNotFoundError:
        return None
    except OSError:
        # A link to itself, for example.
        if entry.is_symlink():
            return None
        raise


def make_directory(uri: str) -> None:
    """Create a directory and those above it.

    Raises:
        UserError: it cannot be created.
    """
    filesystem, path = resolve(uri)
    try:
        filesystem.create_dir(path, recursive=True)
    except OSError as error:
        raise UserError(f"{uri}: cannot be created ({first_line(error)})") from error


def read_bytes(uri: str) -> bytes:
    """Return a file's content.

    Raises:
        UserError: it is missing or cannot be read.
    """
    filesystem, path = resolve(uri)
    try:
        with filesystem.open_input_stream(path, compression=None) as stream:
            return stream.read()
    except FileNotFoundError as error:
        raise UserError(f"{uri}: not found") from error
    except OSError as error:
        raise UserError(f"{uri}: cannot be read ({first_line(error)})") from error


def write_bytes(uri: str, data: bytes | pa.Buffer) -> None:
    """Write a file whole or not at all, creating the directories above it.

    On a local disk a file beside it is renamed into place. Object storage shows an object once it
    is complete.

    Raises:
        UserError: it cannot be written.
    """
    filesystem, path = resolve(uri)
    local = isinstance(filesystem, fs.LocalFileSystem)
    target = f"{path}.{uuid.uuid4().hex[:8]}.tmp" if local else path
    try:
        if local:
            os.makedirs(os.path.dirname(path), exist_ok=True)
        with filesystem.open_output_stream(target, compression=None) as stream:
            stream.write(data)
        if local:
            os.replace(target, path)
    except OSError as error:
        raise UserError(f"{uri}: cannot be written ({first_line(error)})") from error
    finally:
        if local:
            with suppress(OSError):
                os.remove(target)


def read_json(uri: str) -> Any:
    """Return a JSON file's content.

    Raises:
        UserError: it is missing, cannot be read, or is not JSON.
    """
    try:
        return json.loads(read_bytes(uri))
    except ValueError as error:
        raise UserError(f"{uri}: not valid JSON ({error})") from error


def write_json(uri: str, value: Any) -> None:
    """Write a value as JSON, whole or not at all (see `write_bytes`)."""
    write_bytes(uri, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def delete(uris: Iterable[str]) -> None:
    """Delete files; those that are gone already are no error."""
    for uri in uris:
        filesystem, path = resolve(uri)
        with suppress(FileNotFoundError):
            filesystem.delete_file(path)


def delete_directory(uri: str) -> None:
    """Delete a directory and all that is in it; one that is not there is no error.

    Raises:
        UserError: it cannot be deleted.
    """
    filesystem, path = resolve(uri)
    try:
        filesystem.delete_dir(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"{uri}: cannot be deleted ({first_line(error)})") from error
