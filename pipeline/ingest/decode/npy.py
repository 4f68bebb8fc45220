"""Arrays of numbers as `.npy` files hold them, without trust in what their headers say."""

import io
import math
from dataclasses import dataclass

import numpy as np

from pipeline.core.errors import first_line
from pipeline.ingest.source import RejectedRecording

# No header of numbers is longer, and NumPy reads none that is.
HEADER_BYTES = 10_000


@dataclass(frozen=True)
class Header:
    """What a file says of itself: where its numbers begin, and what they are."""

    start: int
    dtype: np.dtype
    shape: tuple[int, ...]
    fortran: bool

    def require(self, size: int) -> None:
        """Raise RejectedRecording unless a file of `size` bytes holds the numbers that this promises, and no more."""
        held = size - self.start
        possible = len(self.shape) <= 8 and min(self.shape, default=0) >= 0
        possible = possible and math.prod(max(length, 1) for length in self.shape) < 1 << 40
        said = math.prod(self.shape) * self.dtype.itemsize if possible else "something impossible"
        if held != said:
            raise RejectedRecording(f"holds {held} bytes of numbers, its header says {said}")


def read_header(data: bytes) -> Header:
    """Read the header that `data` begins with. Raises RejectedRecording where it is none, or not one of real numbers.

    Nothing is allocated that a header claims, and nothing unpickled.
    """
    file = io.BytesIO(data[: HEADER_BYTES + 12])
    try:
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read(file)
    except KeyError:
        raise RejectedRecording(
            f"npy format {version[0]}.{version[1]}, expected 1.0 or 2.0"
        ) from None
    except (
        Exception
    ) as error:  # NumPy evaluates the header as a Python literal: whatever that may raise
        raise RejectedRecording(f"not a .npy file ({first_line(error)[:80]})") from None
    if dtype.kind not in "fiu":
        raise RejectedRecording(f"holds {str(dtype)[:40]}, not real numbers")
    return Header(file.tell(), dtype, shape, fortran)


def parse(data: bytes) -> np.ndarray:
    """Return the array of real numbers that a whole file holds, a view of `data`. Raises RejectedRecording."""
    header = read_header(data)
    header.require(len(data))
    numbers = np.frombuffer(data, header.dtype, offset=header.start)
    return numbers.reshape(header.shape, order="F" if header.fortran else "C")
