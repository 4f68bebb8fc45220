"""Raw recordings of every supported kind, behind one interface (`recording.Reader`)."""

from pipeline.ingest.formats.arrays import Arrays
from pipeline.ingest.formats.ctrgcn_npz import CtrgcnNpz
from pipeline.ingest.formats.ntu import Ntu
from pipeline.ingest.formats.nw_ucla import NwUcla
from pipeline.ingest.formats.pku_mmd import PkuMmd
from pipeline.ingest.formats.pyskl import Pyskl
from pipeline.ingest.recording import (
    FileReader,
    RawRecording,
    Reader,
    Rejected,
    RejectedRecording,
    performance_id,
)

READERS: dict[str, type[Reader]] = {
    reader.name: reader for reader in (Ntu, NwUcla, PkuMmd, Arrays, Pyskl, CtrgcnNpz)
}

__all__ = [
    "READERS",
    "FileReader",
    "RawRecording",
    "Reader",
    "Rejected",
    "RejectedRecording",
    "performance_id",
]
