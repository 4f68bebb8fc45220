"""Numbers in plain text, read without cutting it into Python strings.

The fields of a text are one Arrow string array over its own bytes, of which the needed ones are
cast to numbers.
"""

import codecs
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.ingest.source import RejectedRecording

TAB = ord("\t")
LAST_BLANK_CONTROL = ord("\r")  # tab, line feed, vertical tab, form feed, carriage return
NEWLINE = ord("\n")
SPACE = ord(" ")
# A count of more digits is damage.
MOST_DIGITS = 9

UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class Text:
    r"""Lines of fields that blanks separate. Every method raises RejectedRecording.

        data      "1 2\n\n3"
        fields    "1 " "2\n\n" "3"       each with the blanks that follow it
        first     0 2 2 3                line 0 has fields 0 and 1, line 1 none, line 2 field 2
        starts    0 4 5 6

    Attributes:
        data: the bytes of the text.
        fields: all fields.
        first: int64 [lines + 1]: the number of each line's first field, and of all fields.
        starts: int64 [lines + 1]: where each line starts in `data`, and where the text ends.
    """

    data: bytes
    fields: pa.StringArray
    first: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, data: bytes) -> "Text":
        """Find the lines and fields of ASCII text. Blank lines at its end do not count.

        A byte-order mark, UTF-16, and lines that end with a carriage return alone are read too.
        """
        data = plain_text(data).rstrip()
        if not data:
            raise RejectedRecording("empty file")
        octets = np.frombuffer(data, np.uint8)
        # Control characters, all but blanks. Below 14 the second difference wraps around.
        first_control = LAST_BLANK_CONTROL + 1
        if (octets < TAB).any() or (octets - first_control < SPACE - first_control).any():
            raise RejectedRecording("not plain text")

        # A field begins at a byte that is no blank and follows a blank.
        blank = octets <= SPACE
        is_begin = ~blank
        is_begin[1:] &= blank[:-1]
        begins = np.flatnonzero(is_begin)
        line_ends = np.flatnonzero(octets == NEWLINE)
        starts = np.concatenate([[0], line_ends + 1, [len(data)]])
        offsets = np.append(begins, len(data)).astype(np.int32)
        fields = pa.StringArray.from_buffers(len(begins), pa.py_buffer(offsets), pa.py_buffer(data))
        return cls(data, fields, np.searchsorted(begins, starts), starts)

    @cached_property
    def lines(self) -> int:
        """Number of lines."""
        return len(self.starts) - 1

    def count(self, line: int, what: str) -> int:
        """Return the whole number from 0 that is all of a line.

        Args:
            line: its number, from 0.
            what: what is counted, for messages.
        """
        if line >= self.lines:
            raise RejectedRecording(f"truncated: ends at line {self.lines}")
        text = self.data[self.starts[line] : self.starts[line + 1]].strip()
        if not text.isdigit() or len(text) > MOST_DIGITS:
            raise RejectedRecording(f"line {line + 1}: {what} expected, got {text[:20].decode()!r}")
        return int(text)

    def check_fields(self, expected: np.ndarray) -> None:
        """Check how many fields every line has.

        Args:
            expected: int64 [lines].
        """
        found = np.diff(self.first)
        wrong = np.flatnonzero(found != expected)
        if len(wrong):
            line = int(wrong[0])
            raise RejectedRecording(
                f"line {line + 1}: {found[line]} fields, expected {expected[line]}"
            )

    def numbers(self, fields: np.ndarray, kind: pa.DataType, what: str) -> np.ndarray:
        """Return the values of some fields.

        Args:
            fields: their numbers.
            kind: what they are.
            what: names one of them, for messages.
        """
        try:
            return self._texts(fields).cast(kind).to_numpy()
        except pa.ArrowInvalid as error:
            reason = str(error).splitlines()[0][:80]
            if "," in reason:
                reason += ": decimal commas? write points"
            raise RejectedRecording(f"{what} is not a number ({reason})") from None

    def _texts(self, fields: np.ndarray) -> pa.StringArray:
        return pc.ascii_trim_whitespace(self.fields.take(pa.array(fields)))


def plain_text(data: bytes) -> bytes:
    """Return ASCII text without a byte-order mark, its lines ended by line feeds.

    Args:
        data: ASCII or UTF-16, with or without a mark, in which lines may also end with carriage
            returns alone.

    Raises:
        RejectedRecording: it is anything else.
    """
    if data.startswith(UTF16_MARKS):
        try:
            data = data.decode("utf-16").encode("ascii")
        except UnicodeError:
            raise RejectedRecording("not plain text") from None
    data = data.removeprefix(codecs.BOM_UTF8)
    if not data.isascii():
        raise RejectedRecording("not plain text")
    if b"\0" in data:
        raise RejectedRecording("not plain text: holds zero bytes; was it copied to its end?")
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")
    return data
