"""Batches of clips from Arrow memory: gathered from many chunks, or made of a whole table.

Shapes: B clips, F frames, M persons, V joints, C = M * V * 3 numbers a frame.
"""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from models.clips import ClipBatch
from pipeline.store.chunks import Chunk, chunks
from pipeline.store.manifest import UNKNOWN


class Blocks:
    """A list of chunks, which together number their clips from 0. They are never concatenated.

    Attributes:
        chunks: the chunks.
        first: int64 [len(chunks) + 1], row number of the first clip of each chunk, and the total.
    """

    def __init__(self, parts: Iterable[Chunk]):
        self.chunks = list(parts)
        self.first = np.cumsum([0, *map(len, self.chunks)])

    def __len__(self) -> int:
        return int(self.first[-1])

    def gather(self, rows: np.ndarray, pin: bool = False) -> tuple[Tensor, Tensor]:
        """Copy clips into new memory, without a loop over clips.

        Each chunk that holds one of the clips is visited once, and its frames are taken by their
        numbers. Example, rows 0, 1 and 3 of two chunks::

            row                0     1     2   |   3
            frames in chunk    0 1   2     3 4 |   0 1 2      chunk 0 | chunk 1
            output frame       0 1   2         |   3 4 5
            offsets            0     2             3     6
            starts - offsets   0     0             -3         added to the output frame, it gives
            source             0 1   2             0 1 2      the frame in the chunk

        Args:
            rows: int64 [B], ascending row numbers.
            pin: whether to allocate page-locked memory, from which copies to a GPU are faster.

        Returns:
            frames float32 [F, C] and offsets int64 [B + 1].
        """
        # Chunk k holds the clips edges[k] to edges[k + 1] of the batch.
        edges = np.searchsorted(rows, self.first)
        touched = np.flatnonzero(np.diff(edges))

        starts_of_chunks = []
        lengths_of_chunks = []
        for k in touched:
            rows_in_chunk = rows[edges[k] : edges[k + 1]] - self.first[k]
            chunk_starts, chunk_lengths = self.chunks[k].spans(rows_in_chunk)
            starts_of_chunks.append(chunk_starts)
            lengths_of_chunks.append(chunk_lengths)
        starts = np.concatenate(starts_of_chunks)
        lengths = np.concatenate(lengths_of_chunks)

        offsets = np.concatenate([[0], np.cumsum(lengths)])
        source = np.repeat(starts - offsets[:-1], lengths)
        source += np.arange(offsets[-1])

        frames = _empty(len(source), self.chunks[0].frames.shape[1], pin)
        target = frames.numpy()
        for k in touched:
            part = slice(offsets[edges[k]], offsets[edges[k + 1]])
            # The default mode copies its output once more, so that an index out of range leaves
            # it as it was. These indices are in range.
            np.take(self.chunks[k].frames, source[part], axis=0, out=target[part], mode="clip")
        return frames, torch.from_numpy(offsets)


def _empty(frames: int, width: int, pin: bool) -> Tensor:
    """Allocate float32 [frames, width]."""
    if pin:
        return torch.empty((frames, width), pin_memory=True)
    # The memory comes from numpy. torch aligns blocks to 64 bytes, so a new block does not fit into
    # the space of a freed one, and the heap grew to ten batches.
    return torch.from_numpy(np.empty((frames, width), np.float32))


def as_tensor(chunk: Chunk) -> Tensor:
    """Return the frames of a chunk as a tensor [F, C] on the same memory.

    Only read it: torch does not know that it must not write there.
    """
    return from_dlpack(chunk.values).view(chunk.frames.shape)


def table_to_clips(table: pa.Table, persons: int, joints: int) -> ClipBatch:
    """Turn rows of a store into a clip batch, for reading in order, as an evaluation does.

    Args:
        table: column `joints` (binary, any number of chunks); `id` and `label` if it has them.
        persons: M.
        joints: V.

    Returns:
        A batch; an id or label that the table does not have is -1. If `joints` has one chunk, the
        frames are in the table's own memory: only read them, because other processes of the node
        may share it. Several chunks are copied once.

    Raises:
        ValueError: the table has no rows, or `joints` does not hold whole frames of M persons with
            V joints.
    """
    parts = chunks(table["joints"], persons * joints * 3)
    if not parts:
        raise ValueError("a batch needs at least one clip, the table has no rows")
    tensors = [as_tensor(part) for part in parts]
    frames = tensors[0] if len(tensors) == 1 else torch.cat(tensors)
    lengths = np.concatenate([part.spans()[1] for part in parts])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return ClipBatch(
        frames.view(-1, persons, joints, 3),
        torch.from_numpy(offsets),
        _integers(table, "id"),
        _integers(table, "label"),
    )


def _integers(table: pa.Table, name: str) -> Tensor:
    """Return a column as int64 [B], UNKNOWN where it is null or missing."""
    if name not in table.column_names:
        return torch.full((table.num_rows,), UNKNOWN, dtype=torch.int64)
    return torch.from_numpy(table[name].fill_null(UNKNOWN).to_numpy().astype(np.int64))
