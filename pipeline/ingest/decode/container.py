"""Data sets that are one file of many recordings, or one for each of their parts."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath

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
    found = _find_all(sources, suffix)
    if len(found) > 1:
        raise UserError(f"{_several(sources, suffix, found)}; name one (data.raw=...)")
    return found[0]


def find_parts(sources: Sequence[str], suffix: str, parts: Sequence[str]) -> tuple[Container, ...]:
    """Return the file, or the files that each hold a part, of a data set, sorted by name.

    Several files belong together if each was named by itself, or if they lie in one folder and are
    called like parts.

    Args:
        sources: as for `find`.
        suffix: as for `find`.
        parts: what such files in a folder are called, without the suffix.

    Raises:
        UserError: there is no such file, several have one name, or it is not clear which of them
            belong together.
    """
    found = _find_all(sources, suffix)
    if len(found) == 1:
        return (found[0],)
    names = [part_name(one) for one in found]
    together = {one.uri for one in found} == set(sources)
    if set(names) <= set(parts):
        folders = {folder_of(one.uri) for one in found}
        together = together or len(folders) == 1
    if not together or len(set(names)) < len(names):
        raise UserError(
            f"{_several(sources, suffix, found)}; name the one, or those that belong together and "
            "have different names (data.raw=[...])"
        )
    return tuple(sorted(found, key=part_name))


def part_name(file: Container) -> str:
    """Return the name of a file without its suffix."""
    return PurePosixPath(storage.name(file.uri)).stem


def folder_of(uri: str) -> str:
    """Return the folder of a file."""
    return storage.split_options(uri)[0].rpartition("/")[0]


def _several(sources: Sequence[str], suffix: str, found: Sequence[Container]) -> str:
    names = ", ".join(storage.name(one.uri) for one in found[:3])
    return f"{', '.join(sources)}: holds several {suffix} files: {names}"


def _find_all(sources: Sequence[str], suffix: str) -> list[Container]:
    """Return the files whose names end with `suffix`. Raises UserError where there is none."""
    found: list[tuple[str, fs.FileInfo]] = []
    ignored = 0
    for uri in sources:
        matching, files = _matching(uri, suffix)
        found += matching
        ignored += files - len(matching)
    if not found:
        hint = ""
        if any(uri.endswith(".zip") for uri in sources):
            hint = "; unpack it first"
        raise UserError(f"{', '.join(sources)}: holds no {suffix} file{hint}")
    return [Container(uri, info.size, info.mtime_ns or 0, ignored) for uri, info in found]


def _matching(uri: str, suffix: str) -> tuple[list[tuple[str, fs.FileInfo]], int]:
    """Return the files of a source whose names end with `suffix`, and how many files it has."""
    info = storage.info(uri)
    if info.type == fs.FileType.NotFound:
        raise UserError(f"{uri}: recordings not found")
    matching = []
    if info.type == fs.FileType.File:
        if storage.split_options(uri)[0].endswith(suffix):
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
