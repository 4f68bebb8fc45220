"""Raw recordings of every supported kind, behind one interface (`recording.Reader`)."""

from pipeline.readers.arrays import Arrays
from pipeline.readers.ctrgcn_npz import CtrgcnNpz
from pipeline.readers.ntu import Ntu
from pipeline.readers.nw_ucla import NwUcla
from pipeline.readers.pku_mmd import PkuMmd
from pipeline.readers.pyskl import Pyskl
from pipeline.readers.recording import FileReader, RawRecording, Reader, Rejected, RejectedRecording, performance_id

READERS: dict[str, type[Reader]] = {reader.name: reader for reader in (Ntu, NwUcla, PkuMmd, Arrays, Pyskl, CtrgcnNpz)}

__all__ = ["READERS", "FileReader", "RawRecording", "Reader", "Rejected", "RejectedRecording", "performance_id"]
