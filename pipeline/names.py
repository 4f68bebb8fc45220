"""Lists of clip names: the samples that a data set's authors say to leave out, or whose splits are to be counted."""

import gzip
import zlib
from pathlib import Path

import numpy as np

from pipeline import storage
from pipeline.config import Config
from pipeline.console import say
from pipeline.errors import ConfigError, first_line
from pipeline.protocols import SPLIT, counts
from pipeline.readers import FileReader, Reader, RejectedRecording
from pipeline.store import INTEGERS, UNKNOWN

# Lists that come with the project, by file name.
SHIPPED = Path(__file__).resolve().parent.parent / "conf" / "data" / "missing"


def settled(place: str) -> str:
    """Return where a list lies so that it means the same in every process; a shipped one goes by its bare name."""
    return place if _is_shipped(place) else storage.absolute(place)


def _is_shipped(place: str) -> bool:
    return "/" not in place and (SHIPPED / place).is_file()


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


def of_clips(lines: list[str], reader: Reader) -> list[str]:
    """Keep the lines that name clips: the published lists begin with lines of explanation.

    With a reader whose names follow no scheme every line is a name.
    """
    return [line for line in lines if not isinstance(reader, FileReader) or _names_one(line, reader)]


def _names_one(line: str, reader: FileReader) -> bool:
    try:
        reader.who(line + reader.suffix)
    except RejectedRecording:
        return False
    return True


def left_out(place: str | None, reader: Reader) -> list[str]:
    """Return the clips that the list `data.left_out` names.

    Raises:
        ConfigError: it cannot be read, or names no clip.
    """
    if place is None:
        return []
    names = of_clips(read("data.left_out", place), reader)
    if not names:
        raise ConfigError(f"data.left_out={place}: holds no clip names")
    return names


def count(config: Config, reader: Reader) -> dict[str, list[int]]:
    """Count the clips of a list of names on both sides of every protocol: {protocol: [train, test]}.

    A name that comes twice counts once; the samples of `data.left_out` do not count.

    Raises:
        ConfigError: the list cannot be read or names no clip, or the names of this kind of recordings say nothing.
    """
    if not isinstance(reader, FileReader):
        raise ConfigError(f"data.reader={reader.name}: the names of its clips do not say who, what and where")
    lines = read("data.names", config.data.names)
    names = of_clips(lines, reader)
    if not names:
        raise ConfigError(f"data.names={config.data.names}: holds no clip names")
    if len(names) < len(lines):
        known = set(names)
        other = next(line for line in lines if line not in known)
        say(f"{len(lines) - len(names)} lines of {config.data.names} are no clip names, the first: {other[:60]!r}")
    kept = sorted(set(names).difference(left_out(config.data.left_out, reader)))
    found = [reader.who(name + reader.suffix) for name in kept]
    columns = {name: np.array([who.get(name, UNKNOWN) for who in found], np.int64) for name in INTEGERS}
    columns[SPLIT] = np.fromiter(((),) * len(found), object, len(found))
    sides = counts(columns, {name: sides.model_dump() for name, sides in config.data.protocols.items()})
    return {name: [found["train"], found["test"]] for name, found in sides.items()}
