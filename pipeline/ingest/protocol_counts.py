"""The stage `protocols`: how many clips of a list of names are on each side of every protocol.

It reads no recording.
"""

import numpy as np

from pipeline.config.root import Config
from pipeline.core.errors import ConfigError
from pipeline.ingest.clip_names import left_out_clips, read_clip_names
from pipeline.ingest.formats import reader_for
from pipeline.ingest.recording import FileReader
from pipeline.store.manifest import UNKNOWN
from pipeline.store.protocols import SPLIT, counts
from pipeline.store.shards import INTEGERS


def count_protocols(config: Config) -> dict[str, list[int]]:
    """Count the clips that the list `data.names` names. A name that comes twice counts once.

    The samples of `data.left_out` do not count.

    Returns:
        {protocol: [clips for training, clips for testing]}

    Raises:
        ConfigError: the list cannot be read or names no clip, or the names of this kind of
            recordings say nothing.
    """
    data = config.data
    reader = reader_for(data.reader, data.classes)
    if not isinstance(reader, FileReader):
        raise ConfigError(
            f"data.reader.format={reader.name}: the names of its clips do not say who, what and "
            "where"
        )
    if data.names is None:  # The configuration asks for one with stages=[protocols].
        raise ConfigError("data.names: names the list of clips to count")
    names = set(read_clip_names("data.names", data.names, reader))
    names.difference_update(left_out_clips(data.left_out, reader))
    found = counts(_columns(sorted(names), reader), data.protocol_values())
    return {protocol: [sides["train"], sides["test"]] for protocol, sides in found.items()}


def _columns(names: list[str], reader: FileReader) -> dict[str, np.ndarray]:
    """Return what the names of clips say, as the columns of a store that protocols filter on."""
    said = [reader.who(name + reader.suffix) for name in names]
    columns = {}
    for column in INTEGERS:
        values = [who.get(column, UNKNOWN) for who in said]
        columns[column] = np.array(values, np.int64)
    # Names do not say in which of the data set's own splits a clip is.
    columns[SPLIT] = np.fromiter([()] * len(names), object, len(names))
    return columns
