"""Where the bytes of recordings come from: directories and zip files, local or on object storage.

Names inside a source are never trusted. Nothing is unpacked to a disk, the path of a member only
identifies it, and a reader sees only its last part. Hidden files, `__MACOSX`, and links inside a
zip are no recordings.
"""

import stat
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

import pyarrow as pa
from pyarrow import fs

from pipeline.core import storage
from pipeline.core.errors import UserError, first_line

# The longest NTU recording is some 3 MB of text. A member beyond this is damage or a zip bomb.
MAX_BYTES = 64 << 20
# Bytes that are read of a zip at a time. Python unpacks all that it reads of bzip2 and LZMA,
# however few bytes are asked for: 4 KiB of bzip2 may stand for some 80 MB, 64 MiB for a terabyte.
ZIP_PIECE = 4096


class RejectedRecording(Exception):  # noqa: N818 - it is no error of the program
    """A recording cannot be used. The message says why in a few words, and the store keeps it."""


@dataclass(frozen=True, order=True)
class Member:
    """One recording, as its source lists it.

    Attributes:
        name: the last part of its path.
        path: where it lies in its source.
        size: bytes, as stated by the source.
        source: the number of the source, from 0.
    """

    name: str
    path: str
    size: int
    source: int = 0


@dataclass(frozen=True)
class Listing:
    """What some sources hold.

    Attributes:
        members: the recordings, sorted by name.
        ignored: how many other files were passed over.
        companions: files that say something about the recordings (labels, splits, a table), sorted.
            What they hold belongs to the identity of the recordings.
        facts: digest of what a file of many recordings says about them.
        notes: what the user should know about them, a line each.
    """

    members: list[Member]
    ignored: int
    companions: tuple[Member, ...] = ()
    facts: str = ""
    notes: tuple[str, ...] = ()


# From a member to its bytes.
Read = Callable[[Member], bytes]
# From a member to its stream.
OpenMember = Callable[[Member], "IO[bytes] | pa.NativeFile"]


def listing(
    sources: Sequence[str],
    wanted: Callable[[PurePosixPath], bool],
    what: str,
    advice: Mapping[str, str] | None = None,
) -> Listing:
    """List the files of some sources.

    Args:
        sources: directories and zip files.
        wanted: decides by a file's path in its source whether it is a recording.
        what: names what is wanted, for the message that there is none.
        advice: how the names of other files end -> what to do about those, for that message.

    Returns:
        The recordings, sorted by name.

    Raises:
        UserError: a source is missing or neither a directory nor a zip file, or none of them holds
            such a file.
    """
    members = []
    files = 0
    archives = 0
    hint = ""
    for number, uri in enumerate(sources):
        plain, others = _files(uri)
        files += len(plain) + others
        for path, size in plain:
            archives += path.endswith(".zip")
            pure = PurePosixPath(path)
            if not _is_hidden(pure) and wanted(pure):
                members.append(Member(pure.name, path, size, number))
            for ending, way_out in (advice or {}).items():
                if path.endswith(ending):
                    hint = f"; {way_out}"
    if not members:
        if archives:
            hint = "; name its zip files themselves: data.raw=[a.zip,b.zip]"
        raise UserError(
            f"{', '.join(sources)}: holds no recordings (no {what} among its {files} files{hint})"
        )
    return Listing(sorted(members), files - len(members))


def _files(uri: str) -> tuple[list[tuple[str, int]], int]:
    """Return path and size of every plain file of a source, and how many other entries it has."""
    kind = storage.info(uri).type
    if kind == fs.FileType.NotFound:
        raise UserError(f"{uri}: recordings not found")
    plain = []
    if kind == fs.FileType.Directory:
        base = storage.resolve(uri)[1].rstrip("/")
        for file in storage.files(uri, recursive=True):
            plain.append((file.path.removeprefix(base).lstrip("/"), file.size))
        return plain, 0
    others = 0
    with _open_zip(uri) as archive:
        for entry in archive.infolist():
            if entry.filename.endswith("/"):  # a directory
                continue
            if _is_plain(entry):
                plain.append((entry.filename, entry.file_size))
            else:
                others += 1
    return plain, others


def _is_hidden(path: PurePosixPath) -> bool:
    return path.name.startswith(".") or "__MACOSX" in path.parts


def _is_plain(entry: zipfile.ZipInfo) -> bool:
    """Tell whether an entry is a file that has a name, and no link, pipe or device."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    return entry.filename != "" and kind in (0, stat.S_IFREG)


@contextmanager
def _open_zip(uri: str) -> Iterator[zipfile.ZipFile]:
    filesystem, path = storage.resolve(uri)
    with ExitStack() as stack:
        try:
            archive = zipfile.ZipFile(stack.enter_context(filesystem.open_input_file(path)))
        except Exception as error:  # A damaged zip may fail in any way, in zipfile or below it.
            raise UserError(
                f"{uri}: neither a directory nor a readable zip file ({first_line(error)})"
            ) from error
        yield stack.enter_context(archive)


@contextmanager
def opened(sources: Sequence[str]) -> Iterator[Read]:
    """Open some sources once.

    Args:
        sources: directories and zip files.

    Yields:
        A function that reads a member's bytes. It raises RejectedRecording for a member that cannot
        be read or is larger than MAX_BYTES.
    """
    with ExitStack() as stack:
        openers = [_opener(uri, stack) for uri in sources]
        yield lambda member: _read_bounded(member, openers[member.source])


def _opener(uri: str, stack: ExitStack) -> OpenMember:
    """Return a function that opens the members of one source."""
    if storage.is_directory(uri):
        return lambda member: _open_file(uri, member)
    archive = stack.enter_context(_open_zip(uri))
    return lambda member: archive.open(member.path)


def _open_file(uri: str, member: Member) -> pa.NativeFile:
    # Joined below the file system: in a URI a name with `?` or `%` would mean something else.
    filesystem, base = storage.resolve(uri)
    return filesystem.open_input_stream(f"{base.rstrip('/')}/{member.path}", compression=None)


def _read_bounded(member: Member, open_member: OpenMember) -> bytes:
    """Read at most MAX_BYTES. The stated size is checked first, and not trusted afterwards."""
    too_large = f"larger than {MAX_BYTES >> 20} MiB"
    if member.size > MAX_BYTES:
        raise RejectedRecording(too_large)
    try:
        with open_member(member) as stream:
            if isinstance(stream, zipfile.ZipExtFile):
                data = _read_in_pieces(stream)
            else:
                data = stream.read(MAX_BYTES + 1)
    except Exception as error:
        # zipfile, the decompressors and Arrow fail in any way that a damaged zip makes them.
        raise RejectedRecording(f"cannot be read ({first_line(error)})") from None
    if len(data) > MAX_BYTES:
        raise RejectedRecording(too_large)
    return data


def _read_in_pieces(stream: zipfile.ZipExtFile) -> bytes:
    """Read all of a stream, or more than MAX_BYTES of it by less than a piece."""
    data = bytearray()
    while len(data) <= MAX_BYTES:
        piece = stream.read(ZIP_PIECE)
        if not piece:
            break
        data += piece
    return bytes(data)
