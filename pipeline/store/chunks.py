"""Clips in Arrow memory: the frames of a `binary` column, mapped into numpy without a copy.

A store keeps the coordinates of a clip as one binary value. Arrow stores the values of a column one
after another. So its data are already the frames of a batch of clips, and its offsets say where
each clip begins. This module does not import torch.

Shapes: F frames, M persons, V joints, C = M * V * 3 numbers a frame.
"""

import numpy as np
import pyarrow as pa

BYTES_PER_NUMBER = 4


class Chunk:
    """The clips of one chunk of a `joints` column.

    Attributes:
        values: the numbers of all frames, an Arrow array [F * C] on the memory of the column.
        frames: the same memory in numpy, float32 [F, C], read-only.

    Args:
        array: the chunk, a binary array.
        width: C, numbers in a frame.

    Raises:
        ValueError: the array is not binary, holds nulls, or a clip is not a whole number of frames
            of this width.
    """

    def __init__(self, array: pa.Array, width: int):
        is_large = pa.types.is_large_binary(array.type)
        if not (pa.types.is_binary(array.type) or is_large):
            raise ValueError(f"joints must be a binary column, got {array.type}")
        if array.null_count:
            raise ValueError(f"joints holds {array.null_count} nulls")

        # Byte offsets of the clips in the data, one more than there are clips.
        _, offsets, data = array.buffers()
        kind = np.dtype(np.int64) if is_large else np.dtype(np.int32)
        self._offsets = np.frombuffer(offsets, kind, len(array) + 1, array.offset * kind.itemsize)
        self._bytes_per_frame = BYTES_PER_NUMBER * width
        if (np.diff(self._offsets) % self._bytes_per_frame).any():
            raise ValueError(f"a clip's joints are not whole frames of {width} float32 numbers")

        # A slice of a column keeps the data of the whole column: begin where its first clip does.
        self._start = int(self._offsets[0])
        size = int(self._offsets[-1]) - self._start
        numbers = data.slice(self._start, size)
        self.values = pa.Array.from_buffers(pa.float32(), size // BYTES_PER_NUMBER, [None, numbers])
        # Arrow's arrays are read-only in numpy. That protects mapped memory, which torch would
        # write to without asking.
        self.frames = self.values.to_numpy(zero_copy_only=True).reshape(-1, width)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def spans(self, rows: np.ndarray | slice = slice(None)) -> tuple[np.ndarray, np.ndarray]:
        """Return the first frame and the number of frames of clips in `frames`, both int64 [B].

        Args:
            rows: the clips of the chunk, by default all.
        """
        begin = self._offsets[:-1][rows].astype(np.int64)
        end = self._offsets[1:][rows].astype(np.int64)
        first_frame = (begin - self._start) // self._bytes_per_frame
        num_frames = (end - begin) // self._bytes_per_frame
        return first_frame, num_frames


def chunks(column: pa.ChunkedArray, width: int) -> list[Chunk]:
    """Return the non-empty chunks of a `joints` column whose frames have `width` numbers."""
    return [Chunk(array, width) for array in column.chunks if len(array)]
