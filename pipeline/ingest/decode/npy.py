"""Arrays of numbers as `.npy` files hold them, without trust in what their headers say."""

import io
import math
from dataclasses import dataclass

import numpy as np

from pipeline.core.errors import first_line
from pipeline.ingest.source import RejectedRecording

# No header of numbers is longer, and NumPy reads none that is.
HEADER_BYTES = 10_000
# Before the header: a magic word, the version, and the length of the header.
PREFIX_BYTES = 12

MOST_AXES = 8
MOST_NUMBERS = 1 << 40

_READ_HEADER = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@dataclass(frozen=True)
class Header:
    """What a file says of itself.

    Attributes:
        start: where its numbers begin, in bytes.
        dtype: what they are.
        shape: how many they are.
        fortran: True where the first axis varies fastest.
    """

    start: int
    dtype: np.dtype
    shape: tuple[int, ...]
    fortran: bool

    def require(self, size: int) -> None:
        """Check that a file of `size` bytes holds the numbers that this promises, and no more.

        Raises:
            RejectedRecording: it does not.
        """
        held = size - self.start
        said: int | str = "something impossible"
        if self._is_possible():
            said = math.prod(self.shape) * self.dtype.itemsize
        if held != said:
            raise RejectedRecording(f"holds {held} bytes of numbers, its header says {said}")

    def _is_possible(self) -> bool:
        if len(self.shape) > MOST_AXES or min(self.shape, default=0) < 0:
            return False
        # An axis of length zero must not hide an absurd one.
        return math.prod(max(length, 1) for length in self.shape) < MOST_NUMBERS


def read_header(data: bytes) -> Header:
    """Read the header that `data` begins with. Nothing is allocated that it claims.

    Raises:
        RejectedRecording: it is none, or not one of real numbers.
    """
    file = io.BytesIO(data[: HEADER_BYTES + PREFIX_BYTES])
    try:
        version = np.lib.format.read_magic(file)
        read = _READ_HEADER[version]
        shape, fortran, dtype = read(file)
    except KeyError:
        raise RejectedRecording(
            f"npy format {version[0]}.{version[1]}, expected 1.0 or 2.0"
        ) from None
    except Exception as error:
        # NumPy evaluates the header as a Python literal: whatever that may raise.
        raise RejectedRecording(f"not a .npy file ({first_line(error)[:80]})") from None
    if dtype.kind not in "fiu":
        raise RejectedRecording(f"holds {str(dtype)[:40]}, not real numbers")
    return Header(file.tell(), dtype, shape, fortran)


def parse(data: bytes) -> np.ndarray:
    """Return the array of real numbers that a whole file holds, a view of `data`.

    Raises:
        RejectedRecording: the file is none, or holds more or less than its header says.
    """
    header = read_header(data)
    header.require(len(data))
    numbers = np.frombuffer(data, header.dtype, offset=header.start)
    if header.fortran:
        return numbers.reshape(header.shape, order="F")
    return numbers.reshape(header.shape)
