"""A quick look at recordings before anything starts: are there any, of the right format?

The stage `ingest` lists all recordings. For a large data set that takes long, so only small sources
are listed here; those of a wrong request are often empty.
"""

import zipfile
from collections.abc import Sequence

from pyarrow import fs

from pipeline.core import storage
from pipeline.core.errors import ConfigError, UserError
from pipeline.ingest.recording import FileReader, RecordingReader

# What counts as small.
MAX_FILES = 2000
MAX_BYTES = 16 << 20


def require_recordings(sources: Sequence[str], reader: RecordingReader) -> None:
    """Check that some sources hold recordings, as far as this can be known at once.

    Args:
        sources: what `data.raw` names, absolute. All of them exist.
        reader: what reads the recordings.

    Raises:
        ConfigError: they hold none, or one of them is no source for this reader.
    """
    for uri in sources:
        if storage.is_remote(uri):
            return
        is_file = storage.info(uri).type == fs.FileType.File
        if is_file and isinstance(reader, FileReader) and not zipfile.is_zipfile(uri):
            raise ConfigError(f"data.raw={uri}: neither a directory nor a zip file")
    if not all(_is_small(uri) for uri in sources):
        return
    try:
        reader.listing(sources)
    except UserError as error:
        raise ConfigError(f"data.raw={error}") from None


def _is_small(uri: str) -> bool:
    """True if a source can be listed at once."""
    entry = storage.info(uri)
    if entry.type == fs.FileType.File:
        return entry.size <= MAX_BYTES
    found = storage.files(uri, recursive=True)
    return len(found) <= MAX_FILES and sum(file.size for file in found) <= MAX_BYTES
