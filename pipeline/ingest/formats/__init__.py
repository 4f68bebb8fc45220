"""Raw recordings of every supported kind, behind one interface, `RecordingReader`.

A new format is a file here with a dataclass that reads it, its name in `READERS`, and its options
in `pipeline.config.readers`.
"""

from collections.abc import Sequence

from pipeline.config.readers import ArraysReader, ReaderOptions
from pipeline.ingest.formats.agcn_npy import AgcnNpy
from pipeline.ingest.formats.arrays import Arrays
from pipeline.ingest.formats.ctrgcn_npz import CtrgcnNpz
from pipeline.ingest.formats.ntu import Ntu
from pipeline.ingest.formats.nw_ucla import NwUcla
from pipeline.ingest.formats.pku_mmd import PkuMmd
from pipeline.ingest.formats.pyskl import Pyskl
from pipeline.ingest.formats.pyskl_2d import Pyskl2d
from pipeline.ingest.recording import RecordingReader

READERS: dict[str, type[RecordingReader]] = {
    "ntu": Ntu,
    "nw_ucla": NwUcla,
    "pku_mmd": PkuMmd,
    "arrays": Arrays,
    "pyskl": Pyskl,
    "pyskl_2d": Pyskl2d,
    "agcn_npy": AgcnNpy,
    "ctrgcn_npz": CtrgcnNpz,
}


def reader_for(options: ReaderOptions, classes: Sequence[str] | None) -> RecordingReader:
    """Build the reader that a configuration asks for.

    Args:
        options: `data.reader` of the configuration.
        classes: names of the classes, which a table of arrays may use instead of numbers.
    """
    values = options.model_dump(exclude={"format"})
    if isinstance(options, ArraysReader):
        values["classes"] = classes
    return READERS[options.format](**values)
