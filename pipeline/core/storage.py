"""Reading and writing files, on a local disk and on object storage alike.

A run reads and writes its files through `pyarrow.fs`. A location is a local path, a `file://` URI,
or a URI that Arrow knows (`s3://bucket/key`, `gs://...`, `hdfs://...`). A URI may end with options
after a `?` (`s3://bucket/key?endpoint_override=http://host:9000`).
"""

import json
import os
import stat
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import pyarrow as pa
from pyarrow import fs

from pipeline.core.errors import UserError, first_line

# Files up to this size are on the disk when `write_bytes` returns.
SMALL_FILE_BYTES = 1 << 20


def is_remote(uri: str) -> bool:
    """True for a URI with a scheme other than `file`."""
    return "://" in uri and not uri.startswith("file://")


def absolute(uri: str) -> str:
    """Return a location that means the same in every process.

    Local paths become absolute. URIs stay as they are.
    """
    if is_remote(uri):
        return uri
    path = uri.removeprefix("file://")
    return os.path.abspath(os.path.expanduser(path))


def join(uri: str, *parts: str) -> str:
    """Return a location below `uri`.

    Example: `join("s3://bucket/run?region=x", "logs")` returns `"s3://bucket/run/logs?region=x"`.
    """
    base, options = split_options(uri)
    return "/".join([base.rstrip("/"), *parts]) + options


def name(uri: str) -> str:
    """Return the last part of a location: the name of the file or directory."""
    base, _ = split_options(uri)
    return base.rstrip("/").rsplit("/", 1)[-1]


def parent(uri: str) -> str:
    """Return the directory of a location.

    Example: `parent("s3://bucket/tables/a.jsonl?region=x")` returns `"s3://bucket/tables?region=x"`.
    """
    base, options = split_options(uri)
    return base.rstrip("/").rpartition("/")[0] + options


def split_options(uri: str) -> tuple[str, str]:
    """Return a location without its options, and the options with their `?`."""
    # A local path may contain a question mark of its own.
    if not is_remote(uri):
        return uri, ""
    base, mark, options = uri.partition("?")
    return base, mark + options


def resolve(uri: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of a location and the path in it.

    Raises:
        UserError: Arrow has no file system for this URI, or a local path is not UTF-8.
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
    """Return the type and size of a file or directory.

    Its type is `FileType.NotFound` if the location is empty.

    Raises:
        UserError: the storage does not answer (no network, no permission).
    """
    filesystem, path = resolve(uri)
    try:
        return filesystem.get_file_info(path)
    except OSError as error:
        raise UserError(f"{uri}: cannot be read ({first_line(error)})") from error


def exists(uri: str) -> bool:
    """True if `uri` is a file or a directory."""
    return info(uri).type != fs.FileType.NotFound


def is_directory(uri: str) -> bool:
    """True if `uri` is a directory, or on object storage a prefix of some object."""
    return info(uri).type == fs.FileType.Directory


def files(uri: str, recursive: bool = False) -> list[fs.FileInfo]:
    r"""Return the files in a directory, sorted by path.

    On a local disk this follows links to files and to directories. It does not follow a link back
    to a directory that the path goes through already. A name that is not UTF-8 is returned with
    its bytes written as `\xff`; Arrow finds no file of that name.

    Args:
        uri: the directory. One that does not exist has no files.
        recursive: whether to look into the directories below it, too.

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


def folders(uri: str) -> list[str]:
    """Return the names of the directories in a directory, sorted. One without any has none.

    Raises:
        UserError: the directory cannot be listed.
    """
    filesystem, path = resolve(uri)
    try:
        if isinstance(filesystem, fs.LocalFileSystem):
            with suppress(FileNotFoundError, NotADirectoryError), os.scandir(path) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir())
            return []
        found = filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True))
    except OSError as error:
        raise UserError(f"{uri}: cannot be listed ({first_line(error)})") from error
    return sorted(entry.base_name for entry in found if entry.type == fs.FileType.Directory)


def write_problem(directory: str) -> str | None:
    """Return why this process cannot write in a local directory, None if it can.

    This makes an empty directory there and removes it, because nothing else tells for sure.
    """
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".skelfuse-", dir=directory))
    except OSError as error:
        return error.strerror
    return None


# The device and inode of a directory. They are the same under every name that links give it.
_Inode = tuple[int, int]


def _walk(directory: str, recursive: bool) -> Iterator[fs.FileInfo]:
    """Yield the files of a local directory.

    Arrow's own listing never ends if links form a circle, and it fails at a name that is not UTF-8.
    So this remembers, for each directory, the directories on the path to it:

        a/b/up -> a        The path a/b/up goes through a already, so it is not followed.
    """
    pending: list[tuple[str, frozenset[_Inode]]] = [(directory, frozenset())]
    while pending:
        current, above = pending.pop()
        # Another process may delete a directory meanwhile; it then has no files.
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
    """Return the status of a directory entry, or of the target if the entry is a link.

    None if a link has no target, or if the entry was deleted meanwhile.
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
    """Create a directory and its parents.

    Raises:
        UserError: the directory cannot be created.
    """
    filesystem, path = resolve(uri)
    try:
        filesystem.create_dir(path, recursive=True)
    except OSError as error:
        raise UserError(f"{uri}: cannot be created ({first_line(error)})") from error


def read_bytes(uri: str) -> bytes:
    """Return the content of a file.

    Raises:
        UserError: the file is missing or cannot be read.
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
    """Write a whole file or nothing, and create its parent directories.

    On a local disk this writes a temporary file beside it, and renames it. Object storage needs no
    such step, because it shows an object only once it is complete.

    Raises:
        UserError: the file cannot be written.
    """
    filesystem, path = resolve(uri)
    try:
        if isinstance(filesystem, fs.LocalFileSystem):
            _write_local(path, data)
            return
        with filesystem.open_output_stream(path, compression=None) as stream:
            stream.write(data)
    except OSError as error:
        raise UserError(f"{uri}: cannot be written ({first_line(error)})") from error


def _write_local(path: str, data: bytes | pa.Buffer) -> None:
    """Write a local file under another name, and rename it.

    A small file is on the disk before it has its name: after a power failure it is the old file or
    the new one, and never an empty one. Large files have checksums instead, for waiting for the
    disk takes long.
    """
    directory = os.path.dirname(path)
    os.makedirs(directory, exist_ok=True)
    temporary = f"{path}.{uuid.uuid4().hex[:8]}.tmp"
    is_small = memoryview(data).nbytes <= SMALL_FILE_BYTES
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            if is_small:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        # After an error the temporary file is still there.
        with suppress(OSError):
            os.remove(temporary)
    if is_small:
        _sync_directory(directory)


def _sync_directory(path: str) -> None:
    """Make the new name of a file last. Some network file systems cannot, which is no error."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_json(uri: str) -> Any:
    """Return the value in a JSON file.

    Raises:
        UserError: the file is missing, cannot be read, or is not JSON.
    """
    try:
        return json.loads(read_bytes(uri))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{uri}: not valid JSON ({first_line(error)})") from error


def read_object(uri: str) -> dict[str, Any] | None:
    """Return the object in a JSON file that can be made again.

    Returns:
        The object. None if the file is missing, or does not hold one whole object.

    Raises:
        UserError: the storage does not answer.
    """
    if not exists(uri):
        return None
    try:
        value = json.loads(read_bytes(uri))
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    return value


def write_json(uri: str, value: Any) -> None:
    """Write a value as JSON, the whole file or nothing (see `write_bytes`)."""
    text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    write_bytes(uri, text.encode())


def delete(uris: Iterable[str]) -> None:
    """Delete files. A file that does not exist is not an error."""
    for uri in uris:
        filesystem, path = resolve(uri)
        with suppress(FileNotFoundError):
            filesystem.delete_file(path)


def delete_directory(uri: str) -> None:
    """Delete a directory and everything in it. One that does not exist is not an error.

    Raises:
        UserError: the directory cannot be deleted.
    """
    filesystem, path = resolve(uri)
    try:
        filesystem.delete_dir(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"{uri}: cannot be deleted ({first_line(error)})") from error
