"""Lists of clip names: the samples to leave out of a data set, or to count the splits of."""

import gzip
import io
import re
import zlib

from pyarrow import fs

from pipeline.config.places import shipped_list
from pipeline.core import storage
from pipeline.core.console import say
from pipeline.core.errors import ConfigError, first_line
from pipeline.ingest.recording import FileReader, RecordingReader
from pipeline.ingest.source import RejectedRecording

GZIP = b"\x1f\x8b"
# Ten times the names of NTU RGB+D 120. A list beyond this is no list, or a gzip bomb.
MAX_LIST_BYTES = 32 << 20


def read_lines(key: str, place: str) -> list[str]:
    """Read a list, plain or gzip.

    Args:
        key: the setting that names it, for messages.
        place: where it lies, or the bare name of a list that comes with the project.

    Returns:
        Its lines, without blank ones and those that begin with `#`.

    Raises:
        ConfigError: it cannot be read.
    """
    uri = storage.absolute(place)
    shipped = shipped_list(place)
    if shipped is not None:
        uri = str(shipped)
    kind = storage.info(uri).type
    if kind == fs.FileType.NotFound:
        raise ConfigError(f"{key}={place}: not found")
    # A device or a pipe may have no end.
    if kind != fs.FileType.File:
        raise ConfigError(f"{key}={place}: not a file")
    too_large = ConfigError(
        f"{key}={place}: not a list of names (larger than {MAX_LIST_BYTES >> 20} MiB)"
    )
    if (storage.info(uri).size or 0) > MAX_LIST_BYTES:
        raise too_large
    data = storage.read_bytes(uri)
    try:
        if data.startswith(GZIP):
            data = _unpacked(data)
        text = data.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ConfigError(f"{key}={place}: not a list of names ({first_line(error)})") from None
    if len(data) > MAX_LIST_BYTES:
        raise too_large
    lines = []
    for line in text.splitlines():
        line = line.strip()
        if line and not line.startswith("#"):
            lines.append(line)
    return lines


def _unpacked(data: bytes) -> bytes:
    """Unpack gzip, at most one byte more than MAX_LIST_BYTES: a thousandth of it can stand for it.

    Raises:
        OSError, EOFError, zlib.error: it is damaged.
    """
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        return file.read(MAX_LIST_BYTES + 1)


def read_clip_names(key: str, place: str, reader: RecordingReader) -> list[str]:
    """Read the clips that a list names.

    The published lists begin with lines of explanation, so lines that are no name are passed over,
    and the user is told. A line may go on after the name, and the name may have the suffix of a
    file. With a reader whose names follow no scheme, every line is a name.

    Args:
        key: the setting that names the list, for messages.
        place: where it lies.
        reader: what reads the recordings, and knows their names.

    Raises:
        ConfigError: the list cannot be read, or no line names a clip.
    """
    names = []
    others = []
    # A line that comes twice counts once.
    for line in dict.fromkeys(read_lines(key, place)):
        name: str | None = line
        if isinstance(reader, FileReader):
            name = _name_in(line, reader)
        if name:
            names.append(name)
        else:
            others.append(line)
    if not names:
        raise ConfigError(f"{key}={place}: holds no clip names")
    if others:
        say(f"  {len(others)} lines of {place} are no clip names, the first: {others[0][:60]!r}")
    return names


def _name_in(line: str, reader: FileReader) -> str | None:
    """Return the name of a clip that a line begins with, None where it begins with none."""
    name = re.split(r"[\s,;#]", line, maxsplit=1)[0].removesuffix(reader.suffix)
    try:
        reader.who(name + reader.suffix)
    except RejectedRecording:
        return None
    return name


def left_out_clips(place: str | None, reader: RecordingReader) -> list[str]:
    """Read the clips that the list `data.left_out` names; none without a list.

    Raises:
        ConfigError: it cannot be read, or names no clip.
    """
    if not place:
        return []
    return read_clip_names("data.left_out", place, reader)
