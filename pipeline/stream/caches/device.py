"""The cache `device`: a copy of all selected clips on the worker's own device."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import torch

from models.clips import ClipBatch
from pipeline.store.blocks import as_tensor
from pipeline.store.chunks import chunks
from pipeline.stream.caches.clip_stream import ShuffledStream, WorkerShare, cut_out


class DeviceStream(ShuffledStream):
    """Gathers batches on the device: a step sends B numbers there and waits for nothing.

    Args:
        share: which worker this is.
        description: for the console.
        tables: the selected clips in order, copied one table after another; none is held.
    """

    def __init__(self, share: WorkerShare, description: str, tables: Iterable[pa.Table]):
        super().__init__(share, description)
        lengths = share.selection.lengths
        ends = np.cumsum(lengths)
        self._frames = torch.empty(
            (int(ends[-1]), share.width), dtype=torch.float32, device=share.device
        )
        # int64 [5, N]: first frame, number of frames, and the facts of each clip.
        facts = share.selection.facts(slice(None))
        clips = np.concatenate([[ends - lengths, lengths], facts])
        self._clips = torch.from_numpy(clips).to(share.device)
        filled = 0
        for table in tables:
            for chunk in chunks(table["joints"], share.width):
                end = filled + len(chunk.frames)
                self._frames[filled:end].copy_(as_tensor(chunk))
                filled = end

    def _gather(self, rows: np.ndarray) -> ClipBatch:
        # Known here, so that the host need not wait for the device to tell.
        total = int(self._share.selection.lengths[rows].sum())
        chosen = torch.from_numpy(rows).to(self._share.device, non_blocking=True)
        clips = self._clips[:, chosen]
        starts, lengths = clips[:2]
        frames, offsets = cut_out(self._frames, starts, lengths, total)
        return self._share.batch(frames, offsets, clips[2:])
