"""Where files lie: every file a run touches goes through `pyarrow.fs`, so a local path and `s3://` work alike.

A location is a local path, a `file://` URI, or a URI that Arrow knows (`s3://bucket/key`, `gs://...`, `hdfs://...`),
with its options after `?` where it needs some (`s3://bucket/key?endpoint_override=http://host:9000`).
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


def _split_options(uri: str) -> tuple[str, str]:
    base, mark, options = uri.partition("?") if is_remote(uri) else (uri, "", "")
    return base, mark + options


def absolute(uri: str) -> str:
    """Return the location so that it means the same in every process: local paths absolute, URIs unchanged."""
    return (
        uri if is_remote(uri) else os.path.abspath(os.path.expanduser(uri.removeprefix("file://")))
    )


def join(uri: str, *parts: str) -> str:
    """Return the location below `uri`; options after `?` stay at the end."""
    base, options = _split_options(uri)
    return "/".join([base.rstrip("/"), *parts]) + options


def name(uri: str) -> str:
    """Return the last part of a location."""
    return _split_options(uri)[0].rstrip("/").rsplit("/", 1)[-1]


def resolve(uri: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of a location and the path in it.

    Raises:
        UserError: no file system of Arrow takes this URI, or a local path that is not UTF-8.
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
    """Return the files in a directory, sorted by path; none where the directory does not exist.

    On a local disk links are followed, to files and directories, except to a directory that the path goes through
    already. A name that is not UTF-8 is given with its bytes as `\\xff`; Arrow finds no file of that name.

    Raises:
        UserError: the directory cannot be listed.
    """
    filesystem, path = resolve(uri)
    try:
        if isinstance(filesystem, fs.LocalFileSystem):
            found = list(_walk(path, recursive))
        else:
            found = filesystem.get_file_info(
                fs.FileSelector(path, allow_not_found=True, recursive=recursive)
            )
    except OSError as error:
        raise UserError(f"{uri}: cannot be listed ({first_line(error)})") from error
    return sorted(
        (entry for entry in found if entry.type == fs.FileType.File), key=lambda entry: entry.path
    )


def _walk(directory: str, recursive: bool) -> Iterator[fs.FileInfo]:
    """The files of a local directory. Arrow's own listing goes round in links and fails at a name that is not UTF-8."""
    pending: list[tuple[str, frozenset]] = [(directory, frozenset())]
    while pending:
        directory, above = pending.pop()
        with suppress(FileNotFoundError), os.scandir(directory) as entries:
            there = os.stat(directory)
            path = above | {(there.st_dev, there.st_ino)}
            for entry, found in ((entry, _stat(entry)) for entry in entries):
                if found is None:
                    continue
                if stat.S_ISREG(found.st_mode):
                    name = os.fsencode(entry.path).decode(errors="backslashreplace")
                    yield fs.FileInfo(
                        name, fs.FileType.File, size=found.st_size, mtime_ns=found.st_mtime_ns
                    )
                elif (
                    recursive
                    and stat.S_ISDIR(found.st_mode)
                    and (found.st_dev, found.st_ino) not in path
                ):
                    pending.append((entry.path, path))


def _stat(entry: os.DirEntry) -> os.stat_result | None:
    """What an entry, or what it links to, is; None for a link that leads nowhere and for what is gone meanwhile."""
    try:
        return entry.stat()
    except FileNotFoundError:
        return None
    except OSError:
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

    On a local disk a file beside it is renamed into place; object storage shows an object once it is complete.

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
