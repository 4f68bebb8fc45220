"""Clips that are read once and encoded again and again: those on which a training is measured."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from models.clips import ClipBatch
from pipeline.store.blocks import table_to_clips
from pipeline.store.clip_store import ClipStore
from pipeline.stream.instructions import Shards, read_pieces


@dataclass(frozen=True)
class KeptClips:
    """Clips of a store in this process's memory.

    Attributes:
        ids: int64 [N], rows of the store, ascending.
        table: a row for each clip, as `read_pieces` yields them.
        persons: M of the clips.
        joints: V of the clips.
    """

    ids: np.ndarray
    table: pa.Table
    persons: int
    joints: int

    @classmethod
    def read(cls, store: ClipStore, ids: np.ndarray) -> "KeptClips":
        """Read clips of a store.

        Args:
            store: the store, its clips as models see them.
            ids: int64 [N], ascending, at least one.

        Raises:
            UserError: a shard cannot be read.
        """
        pieces = pa.Table.from_pylist(Shards.of([store]).pieces(ids))
        table = pa.concat_tables(read_pieces(pieces))
        return cls(ids, table, store.persons, store.joints)

    def rows(self, ids: np.ndarray) -> Tensor:
        """Return where some of the clips stand among all: int64 [n], for ids [n]."""
        return torch.from_numpy(np.searchsorted(self.ids, ids))

    def subset(self, ids: np.ndarray) -> "KeptClips":
        """Copy some of the clips."""
        table = self.table.take(pa.array(np.searchsorted(self.ids, ids)))
        return KeptClips(ids, table, self.persons, self.joints)

    def encode(self, encode: Callable[[ClipBatch], Tensor], batch_size: int) -> Tensor:
        """Encode all clips, without gradients.

        Args:
            encode: a batch of B clips -> features [B, D].
            batch_size: clips at a time.

        Returns:
            Features [N, D], in the order of the ids.
        """
        features = []
        with torch.inference_mode():
            for clips in self._batches(batch_size):
                features.append(encode(clips))
        # A copy from outside inference mode: the linear probe computes gradients from it.
        return torch.cat(features).clone()

    def _batches(self, size: int) -> Iterator[ClipBatch]:
        for start in range(0, len(self.ids), size):
            yield table_to_clips(self.table.slice(start, size), self.persons, self.joints)
