"""Where the bytes of recordings come from: a directory or a zip file, local or on object storage.

Names inside a source are never trusted: nothing is unpacked to a disk, a member's path only identifies it, and only its
last part is shown to a reader. Hidden files, `__MACOSX`, and links inside a zip are no recordings.
"""

import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath

from pyarrow import fs

from pipeline import storage
from pipeline.errors import UserError, first_line
from pipeline.readers.recording import RejectedRecording

# The longest NTU recording is some 3 MB of text; a member beyond this is damage or a zip bomb, and is not read.
MAX_BYTES = 64 << 20


@dataclass(frozen=True, order=True)
class Member:
    """One recording of a source: its file name, its path in the source, its size in bytes as the source states it."""

    name: str
    path: str
    size: int


@dataclass(frozen=True)
class Listing:
    """What a source holds: recordings sorted by name, and how many other files were passed over."""

    members: list[Member]
    ignored: int


Read = Callable[[Member], bytes]


def listing(uri: str, suffix: str) -> Listing:
    """List the recordings of a source, sorted by name.

    Raises:
        UserError: nothing lies there, it is neither a directory nor a zip file, or it holds no recording.
    """
    kind = storage.info(uri).type
    if kind == fs.FileType.NotFound:
        raise UserError(f"{uri}: recordings not found")
    if kind == fs.FileType.Directory:
        base = storage.resolve(uri)[1].rstrip("/")
        found = [(file.path.removeprefix(base).lstrip("/"), file.size) for file in storage.files(uri, recursive=True)]
        special = 0
    else:
        with _open_zip(uri) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        found = [(entry.filename, entry.file_size) for entry in entries if _is_plain(entry)]
        special = len(entries) - len(found)
    members = sorted(Member(PurePosixPath(path).name, path, size) for path, size in found if _names_one(path, suffix))
    if not members:
        raise UserError(f"{uri}: holds no recordings (no {suffix} file among its {len(found) + special} files)")
    return Listing(members, len(found) + special - len(members))


def _names_one(path: str, suffix: str) -> bool:
    """True for the path of a recording."""
    parts = PurePosixPath(path).parts
    return path.endswith(suffix) and not parts[-1].startswith(".") and "__MACOSX" not in parts


def _is_plain(entry: zipfile.ZipInfo) -> bool:
    """True for a file that is no link, pipe or device."""
    return stat.S_IFMT(entry.external_attr >> 16) in (0, stat.S_IFREG)


@contextmanager
def _open_zip(uri: str) -> Iterator[zipfile.ZipFile]:
    filesystem, path = storage.resolve(uri)
    with ExitStack() as stack:
        try:
            archive = zipfile.ZipFile(stack.enter_context(filesystem.open_input_file(path)))
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
            raise UserError(f"{uri}: neither a directory nor a readable zip file ({error})") from error
        yield stack.enter_context(archive)


@contextmanager
def opened(uri: str) -> Iterator[Read]:
    """Open a source once and yield a function that reads a member's bytes.

    The function raises RejectedRecording for a member that cannot be read or is larger than MAX_BYTES.
    """
    if storage.is_directory(uri):
        yield lambda member: _bounded(member, lambda: _open_file(uri, member))
        return
    with _open_zip(uri) as archive:
        yield lambda member: _bounded(member, lambda: archive.open(member.path))


def _open_file(uri: str, member: Member):
    filesystem, path = storage.resolve(storage.join(uri, member.path))
    return filesystem.open_input_stream(path, compression=None)


def _bounded(member: Member, open_member: Callable) -> bytes:
    """Read at most MAX_BYTES: the stated size is checked first, and not trusted afterwards."""
    too_large = f"larger than {MAX_BYTES >> 20} MiB"
    if member.size > MAX_BYTES:
        raise RejectedRecording(too_large)
    try:
        with open_member() as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error, KeyError) as error:
        raise RejectedRecording(f"cannot be read ({first_line(error)})") from None
    if len(data) > MAX_BYTES:
        raise RejectedRecording(too_large)
    return data
