"""Where the bytes of recordings come from: directories and zip files, local or on object storage.

Names inside a source are never trusted: nothing is unpacked to a disk, a member's path only identifies it, and only its
last part is shown to a reader. Hidden files, `__MACOSX`, and links inside a zip are no recordings.
"""

import stat
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath

from pyarrow import fs

from pipeline.core import storage
from pipeline.core.errors import UserError, first_line

# The longest NTU recording is some 3 MB of text; a member beyond this is damage or a zip bomb, and is not read.
MAX_BYTES = 64 << 20


class RejectedRecording(Exception):
    """This recording cannot be used; the message says why in a few words and is kept with the store."""


@dataclass(frozen=True, order=True)
class Member:
    """One recording: its name, its path in its source, its size in bytes as stated, and the source's number."""

    name: str
    path: str
    size: int
    source: int = 0


@dataclass(frozen=True)
class Listing:
    """What the sources hold: recordings sorted by name, and how many other files were passed over.

    companions: files that say something of the recordings (labels, splits, a table), sorted: what they hold counts.
    facts: digest of what a file of many recordings says of them.
    """

    members: list[Member]
    ignored: int
    companions: tuple[Member, ...] = ()
    facts: str = ""


Read = Callable[[Member], bytes]


def listing(sources: Sequence[str], wanted: Callable[[PurePosixPath], bool], what: str) -> Listing:
    """List the files of some sources for whose path `wanted` is true, sorted by name.

    Args:
        sources: directories and zip files.
        wanted: decides by a file's path in its source.
        what: what is wanted, for the message that there is none.

    Raises:
        UserError: a source is missing or neither a directory nor a zip file, or none of them holds such a file.
    """
    members, files, archives = [], 0, 0
    for number, uri in enumerate(sources):
        found, special = _files(uri)
        files += len(found) + special
        archives += sum(path.endswith(".zip") for path, _ in found)
        members += [
            Member(PurePosixPath(path).name, path, size, number)
            for path, size in found
            if not _hidden(PurePosixPath(path)) and wanted(PurePosixPath(path))
        ]
    if not members:
        hint = "; name its zip files themselves: data.raw=[a.zip,b.zip]" if archives else ""
        raise UserError(
            f"{', '.join(sources)}: holds no recordings (no {what} among its {files} files{hint})"
        )
    return Listing(sorted(members), files - len(members))


def _files(uri: str) -> tuple[list[tuple[str, int]], int]:
    """Return path and size of every plain file of a source, and how many other entries there are."""
    kind = storage.info(uri).type
    if kind == fs.FileType.NotFound:
        raise UserError(f"{uri}: recordings not found")
    if kind == fs.FileType.Directory:
        base = storage.resolve(uri)[1].rstrip("/")
        return [
            (file.path.removeprefix(base).lstrip("/"), file.size)
            for file in storage.files(uri, recursive=True)
        ], 0
    with _open_zip(uri) as archive:
        entries = [entry for entry in archive.infolist() if not entry.filename.endswith("/")]
    plain = [(entry.filename, entry.file_size) for entry in entries if _is_plain(entry)]
    return plain, len(entries) - len(plain)


def _hidden(path: PurePosixPath) -> bool:
    return path.name.startswith(".") or "__MACOSX" in path.parts


def _is_plain(entry: zipfile.ZipInfo) -> bool:
    """True for a file that has a name and is no link, pipe or device."""
    return entry.filename != "" and stat.S_IFMT(entry.external_attr >> 16) in (0, stat.S_IFREG)


@contextmanager
def _open_zip(uri: str) -> Iterator[zipfile.ZipFile]:
    filesystem, path = storage.resolve(uri)
    with ExitStack() as stack:
        try:
            archive = zipfile.ZipFile(stack.enter_context(filesystem.open_input_file(path)))
        except Exception as error:  # a damaged zip may fail in any way, in zipfile or below it
            raise UserError(
                f"{uri}: neither a directory nor a readable zip file ({first_line(error)})"
            ) from error
        yield stack.enter_context(archive)


@contextmanager
def opened(sources: Sequence[str]) -> Iterator[Read]:
    """Open the sources once and yield a function that reads a member's bytes.

    The function raises RejectedRecording for a member that cannot be read or is larger than MAX_BYTES.
    """
    with ExitStack() as stack:
        openers = [_opener(uri, stack) for uri in sources]
        yield lambda member: _bounded(member, openers[member.source])


def _opener(uri: str, stack: ExitStack) -> Callable:
    """A function from a member of this source to its stream."""
    if storage.is_directory(uri):
        return lambda member: _open_file(uri, member)
    archive = stack.enter_context(_open_zip(uri))
    return lambda member: archive.open(member.path)


def _open_file(uri: str, member: Member):
    # Joined below the file system: in a URI a name with `?` or `%` would mean something else.
    filesystem, base = storage.resolve(uri)
    return filesystem.open_input_stream(f"{base.rstrip('/')}/{member.path}", compression=None)


def _bounded(member: Member, open_member: Callable) -> bytes:
    """Read at most MAX_BYTES: the stated size is checked first, and not trusted afterwards."""
    too_large = f"larger than {MAX_BYTES >> 20} MiB"
    if member.size > MAX_BYTES:
        raise RejectedRecording(too_large)
    try:
        with open_member(member) as stream:
            data = stream.read(MAX_BYTES + 1)
    except Exception as error:  # zipfile, the decompressors and Arrow fail in any way that a damaged zip makes them
        raise RejectedRecording(f"cannot be read ({first_line(error)})") from None
    if len(data) > MAX_BYTES:
        raise RejectedRecording(too_large)
    return data
