"""Arrays that lie uncompressed in a file: a row is read where it lies, and nothing else is."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.core.errors import UserError
from pipeline.ingest.decode import npy
from pipeline.ingest.source import MAX_BYTES, RejectedRecording

# Bytes that are read at a time where all are.
PART = 4 << 20


@dataclass(frozen=True)
class StoredArray:
    """An array that lies uncompressed in a file.

    Attributes:
        start: the byte where it begins; its rows lie one after another.
        dtype: of its numbers.
        shape: of the whole array.
    """

    start: int
    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.shape[0]

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize

    def row(self, file: pa.NativeFile, number: int) -> np.ndarray:
        """Read one row."""
        data = file.read_at(self.row_bytes, self.start + number * self.row_bytes)
        return np.frombuffer(data, self.dtype).reshape(self.shape[1:])

    def parts(self, file: pa.NativeFile) -> Iterator[bytes]:
        """Read all numbers, some at a time."""
        end = self.start + self.rows * self.row_bytes
        for part in range(self.start, end, PART):
            yield file.read_at(min(PART, end - part), part)


def find_array(what: str, file: pa.NativeFile, begin: int, size: int) -> StoredArray:
    """Read the header of an array in the `.npy` format.

    Args:
        what: names it, for messages.
        file: holds it.
        begin: the byte where it begins in the file.
        size: its bytes, with the header.

    Raises:
        UserError: there is none, it does not hold what its header says, its rows do not lie one
            after another, or one of them is larger than MAX_BYTES.
    """
    try:
        most = npy.HEADER_BYTES + npy.PREFIX_BYTES
        header = npy.read_header(file.read_at(min(size, most), begin))
        header.require(size)
    except RejectedRecording as reason:
        raise UserError(f"{what}: {reason}") from None
    if header.fortran:
        raise UserError(f"{what} is stored by columns; store np.ascontiguousarray of it")
    if not header.shape:
        raise UserError(f"{what}: holds one number, not rows")
    array = StoredArray(begin + header.start, header.dtype, header.shape)
    if array.row_bytes > MAX_BYTES:
        raise UserError(f"{what}: a row is larger than {MAX_BYTES >> 20} MiB")
    return array
