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
    """A file: where it lies, what tells it from another in its place, and how many files beside it were passed over."""

    uri: str
    size: int
    modified: int
    ignored: int


def find(sources: Sequence[str], suffix: str) -> Container:
    """Return the one file of the sources whose name ends with `suffix`: a source itself, or in a directory.

    Raises:
        UserError: no such file, or several.
    """
    found, ignored = [], 0
    for uri in sources:
        there = storage.info(uri)
        if there.type == fs.FileType.NotFound:
            raise UserError(f"{uri}: recordings not found")
        if there.type == fs.FileType.File:
            matching, files = ([(uri, there)] if uri.partition("?")[0].endswith(suffix) else []), 1
        else:
            base = storage.resolve(uri)[1].rstrip("/")
            below = storage.files(uri, recursive=True)
            files = len(below)
            matching = [
                (storage.join(uri, file.path.removeprefix(base).lstrip("/")), file)
                for file in below
                if file.base_name.endswith(suffix) and not file.base_name.startswith(".")
            ]
        found += matching
        ignored += files - len(matching)
    if len(found) != 1:
        what = "several" if found else "no"
        names = (
            f": {', '.join(storage.name(uri) for uri, _ in found[:3])}; name one (data.raw=...)"
            if found
            else ""
        )
        hint = (
            "; unpack it first"
            if not found and any(uri.endswith(".zip") for uri in sources)
            else ""
        )
        raise UserError(
            f"{', '.join(sources)}: holds {what} {suffix} file{'s' * bool(found)}{names}{hint}"
        )
    ((uri, there),) = found
    return Container(uri, there.size, there.mtime_ns or 0, ignored)


def digest(parts: Iterable[bytes]) -> str:
    """Return what tells apart files that say different things of the same recordings."""
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        found.update(part)
    return found.hexdigest()


@contextmanager
def opened(uri: str) -> Iterator[pa.NativeFile]:
    """Open a file for reading anywhere in it. Raises UserError where that fails, at once or later."""
    filesystem, path = storage.resolve(uri)
    try:
        with filesystem.open_input_file(path) as file:
            yield file
    except OSError as error:
        raise UserError(f"{uri}: cannot be read ({first_line(error)})") from error
