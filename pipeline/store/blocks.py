"""Clips in Arrow memory: a `binary` column of coordinates is already a ragged batch, all frames end to end.

Shapes: B clips, F frames, M persons, V joints, C = M * V * 3 numbers a frame.
"""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from models.clips import ClipBatch

UNKNOWN = -1


class Chunk:
    """The clips of one chunk of a `joints` column, mapped, never copied.

    Raises:
        ValueError: the column is not binary, holds nulls, or a clip is not a whole number of frames of this width.
    """

    def __init__(self, array: pa.Array, width: int):
        if not (pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type)):
            raise ValueError(f"joints must be a binary column, got {array.type}")
        if array.null_count:
            raise ValueError(f"joints holds {array.null_count} nulls")
        _, offsets, data = array.buffers()
        kind = np.dtype(np.int64 if pa.types.is_large_binary(array.type) else np.int32)
        self._offsets = np.frombuffer(offsets, kind, len(array) + 1, array.offset * kind.itemsize)
        self._bytes_per_frame = 4 * width
        if (np.diff(self._offsets) % self._bytes_per_frame).any():
            raise ValueError(f"a clip's joints are not whole frames of {width} float32 numbers")
        self._start = int(self._offsets[0])
        size = int(self._offsets[-1]) - self._start
        self.values = pa.Array.from_buffers(
            pa.float32(), size // 4, [None, data.slice(self._start, size)]
        )
        # Arrow's arrays are read-only in numpy, which is what keeps mapped memory safe: torch would write to it.
        self.frames = self.values.to_numpy(zero_copy_only=True).reshape(-1, width)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def tensor(self) -> Tensor:
        """Frames as a tensor [F, C] on the same memory. For reading: torch does not know that it must not write."""
        return torch.from_dlpack(self.values).view(self.frames.shape)

    def spans(self, rows: np.ndarray | slice = slice(None)) -> tuple[np.ndarray, np.ndarray]:
        """Return first frame and number of frames of clips, int64."""
        begin, end = (
            self._offsets[:-1][rows].astype(np.int64),
            self._offsets[1:][rows].astype(np.int64),
        )
        return (begin - self._start) // self._bytes_per_frame, (
            end - begin
        ) // self._bytes_per_frame


def chunks(column: pa.ChunkedArray, width: int) -> list[Chunk]:
    """Return the non-empty chunks of a `joints` column whose frames have `width` numbers."""
    return [Chunk(array, width) for array in column.chunks if len(array)]


class Blocks:
    """A list of chunks whose clips have one row number each, in the order of the list; never concatenated."""

    def __init__(self, parts: Iterable[Chunk]):
        self.chunks = list(parts)
        self.first = np.cumsum([0, *map(len, self.chunks)])

    def __len__(self) -> int:
        return int(self.first[-1])

    def gather(self, rows: np.ndarray, pin: bool = False) -> tuple[Tensor, Tensor]:
        """Copy clips into new memory, frame by frame of whole chunks, without a loop over clips.

        Args:
            rows: int64 [B], ascending row numbers.
            pin: allocate page-locked memory, for copies to a GPU.

        Returns:
            frames float32 [F, C] and offsets int64 [B + 1].
        """
        edges = np.searchsorted(rows, self.first)
        touched = [
            (self.chunks[k], self.first[k], edges[k], edges[k + 1])
            for k in np.flatnonzero(np.diff(edges))
        ]
        spans = [chunk.spans(rows[low:high] - first) for chunk, first, low, high in touched]
        starts, lengths = (np.concatenate(values) for values in zip(*spans, strict=True))
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        source = np.repeat(starts - offsets[:-1], lengths)
        source += np.arange(offsets[-1])
        shape = len(source), self.chunks[0].frames.shape[1]
        # Memory from numpy: blocks that torch aligns to 64 bytes do not fit where their like were freed, and the heap
        # grew to ten batches.
        frames = (
            torch.empty(shape, pin_memory=True)
            if pin
            else torch.from_numpy(np.empty(shape, np.float32))
        )
        target = frames.numpy()
        for chunk, _, low, high in touched:
            part = slice(offsets[low], offsets[high])
            # mode: the default copies its output once more, so that an index out of range leaves it as it was.
            np.take(chunk.frames, source[part], axis=0, out=target[part], mode="clip")
        return frames, torch.from_numpy(offsets)


def table_to_clips(table: pa.Table, persons: int, joints: int) -> ClipBatch:
    """Turn rows of a store into a clip batch, for a reading in order such as an evaluation.

    Args:
        table: column `joints` (binary, any number of chunks); `id` and `label` where it has them, -1 elsewhere.
        persons: M.
        joints: V.

    Returns:
        A batch whose frames lie in the table's own memory when `joints` has one chunk, to be read and never written to
        (it may be shared by every process of the node); with more chunks they are copied once.

    Raises:
        ValueError: no rows, or `joints` does not hold whole frames of M persons with V joints.
    """
    parts = chunks(table["joints"], persons * joints * 3)
    if not parts:
        raise ValueError("a batch needs at least one clip, the table has no rows")
    frames = parts[0].tensor() if len(parts) == 1 else torch.cat([part.tensor() for part in parts])
    lengths = np.concatenate([part.spans()[1] for part in parts])
    return ClipBatch(
        frames.view(-1, persons, joints, 3),
        torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)])),
        _integers(table, "id"),
        _integers(table, "label"),
    )


def _integers(table: pa.Table, name: str) -> Tensor:
    if name not in table.column_names:
        return torch.full((table.num_rows,), UNKNOWN, dtype=torch.int64)
    return torch.from_numpy(table[name].fill_null(UNKNOWN).to_numpy().astype(np.int64))
