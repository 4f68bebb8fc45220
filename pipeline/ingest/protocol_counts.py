"""The stage `protocols`: count the clips of a list of names on each side of every protocol.

It needs only the names of the clips, not the recordings.
"""

import numpy as np

from pipeline.config.data import Data
from pipeline.core.errors import ConfigError
from pipeline.ingest.clip_names import left_out_clips, read_clip_names
from pipeline.ingest.formats import reader_for
from pipeline.ingest.recording import FileReader
from pipeline.store.manifest import UNKNOWN
from pipeline.store.protocols import SPLIT, counts
from pipeline.store.shards import INTEGERS


def count_protocols(data: Data) -> dict[str, list[int]]:
    """Count the clips in the list `data.names`. A name that is repeated counts once.

    The clips in `data.left_out` do not count.

    Args:
        data: the section `data` of the configuration.

    Returns:
        Name of a protocol -> [clips for training, clips for testing].

    Raises:
        ConfigError: the list cannot be read or has no clip, or the names of this format do not tell
            the subject, the action and the camera.
    """
    reader = reader_for(data.reader, data.classes)
    if not isinstance(reader, FileReader):
        raise ConfigError(
            f"data.reader.format={reader.name}: the names of its clips do not say who, what and "
            "where"
        )
    # The check of the configuration requires a list with stages=[protocols].
    if data.names is None:
        raise ConfigError("data.names: names the list of clips to count")
    names = set(read_clip_names("data.names", data.names, reader))
    names.difference_update(left_out_clips(data.left_out, reader))
    found = counts(_columns(sorted(names), reader), data.protocol_values())
    return {protocol: [sides["train"], sides["test"]] for protocol, sides in found.items()}


def _columns(names: list[str], reader: FileReader) -> dict[str, np.ndarray]:
    """Return the numbers in the names of clips, as the columns on which protocols filter."""
    numbers_of_clips = [reader.who(name + reader.suffix) for name in names]
    columns = {}
    for column in INTEGERS:
        values = [numbers.get(column, UNKNOWN) for numbers in numbers_of_clips]
        columns[column] = np.array(values, np.int64)
    # A name does not tell to which of the data set's own splits a clip belongs.
    columns[SPLIT] = np.fromiter([()] * len(names), object, len(names))
    return columns
