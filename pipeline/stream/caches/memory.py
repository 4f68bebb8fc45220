"""The cache `memory`: Arrow blocks in the object store, which all workers of a node map."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from models.clips import ClipBatch
from pipeline.store.blocks import Blocks
from pipeline.store.chunks import chunks
from pipeline.stream.caches.clip_stream import ShuffledStream, WorkerShare, cut_out


class MemoryStream(ShuffledStream):
    """Gathers batches from mapped blocks.

    Args:
        share: which worker this is.
        description: for the console.
        tables: the selected clips in order.
    """

    def __init__(self, share: WorkerShare, description: str, tables: Iterable[pa.Table]):
        super().__init__(share, description)
        parts = []
        for table in tables:
            parts += chunks(table["joints"], share.width)
        self._blocks = Blocks(parts)

    def _gather(self, rows: np.ndarray) -> ClipBatch:
        # Blocks take ascending rows; partners come in any order.
        ascending = np.argsort(rows, kind="stable")
        frames, offsets = self._blocks.gather(rows[ascending], pin=self._share.pin)
        if (np.diff(rows) < 0).any():
            # In `ascending` lies where each clip is taken from; its inverse says where it went.
            frames, offsets = _reordered(frames, offsets, np.argsort(ascending))
        facts = torch.from_numpy(self._share.selection.facts(rows))
        return self._share.batch(frames, offsets, facts)


def _reordered(frames: Tensor, offsets: Tensor, order: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return the same clips in another order."""
    clips = torch.from_numpy(order)
    return cut_out(frames, offsets[:-1][clips], offsets.diff()[clips], len(frames))
