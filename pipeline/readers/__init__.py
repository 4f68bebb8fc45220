"""Raw recordings of every supported kind, behind one interface (`recording.Reader`), from a directory or a zip file."""

from pipeline.readers import ntu, nw_ucla
from pipeline.readers.recording import RawRecording, Reader, RejectedRecording, performance_id

READERS: dict[str, Reader] = {reader.name: reader for reader in (ntu.READER, nw_ucla.READER)}

__all__ = ["READERS", "RawRecording", "Reader", "RejectedRecording", "performance_id"]
