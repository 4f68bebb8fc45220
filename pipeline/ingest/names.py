"""Lists of clip names: the samples that a data set's authors say to leave out, or whose splits are to be counted."""

import gzip
import re
import zlib
from pathlib import Path

import numpy as np

from pipeline.config.schema import Config
from pipeline.core import storage
from pipeline.core.console import say
from pipeline.core.errors import ConfigError, first_line
from pipeline.core.paths import CONF
from pipeline.ingest.formats import FileReader, Reader, RejectedRecording
from pipeline.store.clip_store import INTEGERS, UNKNOWN
from pipeline.store.protocols import SPLIT, counts

# Lists that come with the project, by file name.
SHIPPED = CONF / "data" / "missing"


def settled(place: str) -> str:
    """Return where a list lies so that it means the same in every process; a shipped one goes by its bare name."""
    return place if _is_shipped(place) else storage.absolute(place)


def _is_shipped(place: str) -> bool:
    """A file of the user's own of the same name comes first."""
    return "/" not in place and (SHIPPED / place).is_file() and not Path(place).exists()


def read(key: str, place: str) -> list[str]:
    """Return the lines of a list, plain or gzip, without blank ones and those that begin with `#`.

    Raises:
        ConfigError: it cannot be read; the message names the setting `key`.
    """
    uri = str(SHIPPED / place) if _is_shipped(place) else storage.absolute(place)
    if not storage.exists(uri):
        raise ConfigError(f"{key}={place}: not found")
    data = storage.read_bytes(uri)
    try:
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ConfigError(f"{key}={place}: not a list of names ({first_line(error)})") from None
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def of_clips(key: str, place: str, lines: list[str], reader: Reader) -> list[str]:
    """Return the clips that lines name. The published lists begin with lines of explanation: what is no name is said.

    A line may go on after the name, and have the suffix of a file; with a reader whose names follow no scheme every
    line is a name.

    Raises:
        ConfigError: no line names a clip.
    """
    found = {
        line: _name(line, reader) if isinstance(reader, FileReader) else line for line in lines
    }
    names = [name for name in found.values() if name]
    if not names:
        raise ConfigError(f"{key}={place}: holds no clip names")
    others = [line for line, name in found.items() if not name]
    if others:
        say(f"  {len(others)} lines of {place} are no clip names, the first: {others[0][:60]!r}")
    return names


def _name(line: str, reader: FileReader) -> str | None:
    name = re.split(r"[\s,;#]", line, maxsplit=1)[0].removesuffix(reader.suffix)
    try:
        reader.who(name + reader.suffix)
    except RejectedRecording:
        return None
    return name


def left_out(place: str | None, reader: Reader) -> list[str]:
    """Return the clips that the list `data.left_out` names.

    Raises:
        ConfigError: it cannot be read, or names no clip.
    """
    return of_clips("data.left_out", place, read("data.left_out", place), reader) if place else []


def count(config: Config, reader: Reader) -> dict[str, list[int]]:
    """Count the clips of a list of names on both sides of every protocol: {protocol: [train, test]}.

    A name that comes twice counts once; the samples of `data.left_out` do not count.

    Raises:
        ConfigError: the list cannot be read or names no clip, or the names of this kind of recordings say nothing.
    """
    if not isinstance(reader, FileReader):
        raise ConfigError(
            f"data.reader={reader.name}: the names of its clips do not say who, what and where"
        )
    place = config.data.names
    names = of_clips("data.names", place, read("data.names", place), reader)
    kept = sorted(set(names).difference(left_out(config.data.left_out, reader)))
    found = [reader.who(name + reader.suffix) for name in kept]
    columns = {
        name: np.array([who.get(name, UNKNOWN) for who in found], np.int64) for name in INTEGERS
    }
    columns[SPLIT] = np.fromiter(((),) * len(found), object, len(found))
    sides = counts(
        columns, {name: sides.model_dump() for name, sides in config.data.protocols.items()}
    )
    return {name: [found["train"], found["test"]] for name, found in sides.items()}
