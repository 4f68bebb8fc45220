"""Numbers in plain text, read without cutting it into Python strings.

The fields of a text are one Arrow string array over its own bytes, of which the needed ones are
cast to numbers.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.ingest.source import RejectedRecording


@dataclass(frozen=True)
class Text:
    """Lines of fields that blanks separate. Every method raises RejectedRecording for what it does not find."""

    data: bytes
    fields: pa.StringArray  # every field, with the blanks that follow it
    first: np.ndarray  # int64 [lines + 1]: number of each line's first field, and of all fields
    starts: np.ndarray  # int64 [lines + 1]: where each line starts in `data`

    @classmethod
    def of(cls, data: bytes) -> "Text":
        """Find the lines and fields of ASCII text; blank lines at its end do not count."""
        if not data.isascii():
            raise RejectedRecording("not plain text")
        data = data.rstrip()
        if not data:
            raise RejectedRecording("empty file")
        octets = np.frombuffer(data, np.uint8)
        # Control characters, all but blanks; below 14 the difference wraps around.
        if (octets < ord("\t")).any() or (octets - 14 < ord(" ") - 14).any():
            raise RejectedRecording("not plain text")
        blank = octets <= ord(" ")
        begins = ~blank
        begins[1:] &= blank[:-1]
        begins = np.flatnonzero(begins)
        starts = np.concatenate([[0], np.flatnonzero(octets == ord("\n")) + 1, [len(data)]])
        offsets = np.append(begins, len(data)).astype(np.int32)
        fields = pa.StringArray.from_buffers(len(begins), pa.py_buffer(offsets), pa.py_buffer(data))
        return cls(data, fields, np.searchsorted(begins, starts), starts)

    @cached_property
    def lines(self) -> int:
        """Number of lines."""
        return len(self.starts) - 1

    def count(self, line: int, what: str) -> int:
        """Return the whole number >= 0 that is all of a line."""
        if line >= self.lines:
            raise RejectedRecording(f"truncated: ends at line {self.lines}")
        text = self.data[self.starts[line] : self.starts[line + 1]].strip()
        if not text.isdigit() or len(text) > 9:
            raise RejectedRecording(f"line {line + 1}: {what} expected, got {text[:20].decode()!r}")
        return int(text)

    def check_fields(self, expected: np.ndarray) -> None:
        """Check how many fields every line has: int64 [lines]."""
        found = np.diff(self.first)
        wrong = np.flatnonzero(found != expected)
        if len(wrong):
            line = int(wrong[0])
            raise RejectedRecording(
                f"line {line + 1}: {found[line]} fields, expected {expected[line]}"
            )

    def numbers(self, numbers_of_fields: np.ndarray, kind: pa.DataType, what: str) -> np.ndarray:
        """Return the values of some fields."""
        try:
            return self._texts(numbers_of_fields).cast(kind).to_numpy()
        except pa.ArrowInvalid as error:
            raise RejectedRecording(
                f"{what} is not a number ({str(error).splitlines()[0][:80]})"
            ) from None

    def _texts(self, numbers_of_fields: np.ndarray) -> pa.StringArray:
        return pc.ascii_trim_whitespace(self.fields.take(pa.array(numbers_of_fields)))
