"""Data sets that are one file of many recordings."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
from pyarrow import fs

from pipeline.core import storage
from pipeline.core.errors import UserError, first_line


@dataclass(frozen=True)
class Container:
    """A file of many recordings.

    Attributes:
        uri: where it lies.
        size: bytes. Together with `modified` it tells the file from another in its place.
        modified: when it was last changed, in nanoseconds.
        ignored: how many files beside it were passed over.
    """

    uri: str
    size: int
    modified: int
    ignored: int


def find(sources: Sequence[str], suffix: str) -> Container:
    """Return the one file of the sources whose name ends with `suffix`.

    Args:
        sources: files, and directories that may hold it.
        suffix: as `.pkl`.

    Raises:
        UserError: there is no such file, or there are several.
    """
    found: list[tuple[str, fs.FileInfo]] = []
    ignored = 0
    for uri in sources:
        matching, files = _matching(uri, suffix)
        found += matching
        ignored += files - len(matching)
    if len(found) > 1:
        names = ", ".join(storage.name(uri) for uri, _ in found[:3])
        raise UserError(
            f"{', '.join(sources)}: holds several {suffix} files: {names}; name one (data.raw=...)"
        )
    if not found:
        hint = ""
        if any(uri.endswith(".zip") for uri in sources):
            hint = "; unpack it first"
        raise UserError(f"{', '.join(sources)}: holds no {suffix} file{hint}")
    uri, info = found[0]
    return Container(uri, info.size, info.mtime_ns or 0, ignored)


def _matching(uri: str, suffix: str) -> tuple[list[tuple[str, fs.FileInfo]], int]:
    """Return the files of a source whose names end with `suffix`, and how many files it has."""
    info = storage.info(uri)
    if info.type == fs.FileType.NotFound:
        raise UserError(f"{uri}: recordings not found")
    matching = []
    if info.type == fs.FileType.File:
        # A URI may have options after `?`.
        if uri.partition("?")[0].endswith(suffix):
            matching.append((uri, info))
        return matching, 1
    base = storage.resolve(uri)[1].rstrip("/")
    files = storage.files(uri, recursive=True)
    for file in files:
        if file.base_name.endswith(suffix) and not file.base_name.startswith("."):
            path = file.path.removeprefix(base).lstrip("/")
            matching.append((storage.join(uri, path), file))
    return matching, len(files)


def digest(parts: Iterable[bytes]) -> str:
    """Return what tells apart files that say different things about the same recordings."""
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        found.update(part)
    return found.hexdigest()


@contextmanager
def opened(uri: str) -> Iterator[pa.NativeFile]:
    """Open a file for reading anywhere in it.

    Raises:
        UserError: that fails, at once or later.
    """
    filesystem, path = storage.resolve(uri)
    try:
        with filesystem.open_input_file(path) as file:
            yield file
    except OSError as error:
        raise UserError(f"{uri}: cannot be read ({first_line(error)})") from error
