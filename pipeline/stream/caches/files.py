"""The cache `none`: the files, read all along; row groups and clips in a window are shuffled."""

from collections.abc import Callable, Iterator

import numpy as np
import torch

from models.clips import ClipBatch
from pipeline.store.blocks import Blocks
from pipeline.stream.caches.clip_stream import ClipStream, WorkerShare
from pipeline.stream.reader import ClipReader, Window


class FileStream(ClipStream):
    """Batches of a reader that runs through the files.

    Args:
        share: which worker this is.
        description: for the console.
        start_reader: called with an epoch and a position in it, opens a reader that begins at this
            clip of the worker.
    """

    def __init__(
        self,
        share: WorkerShare,
        description: str,
        start_reader: Callable[[int, int], ClipReader],
    ):
        super().__init__(share, description)
        self._start_reader = start_reader
        self._reader: ClipReader | None = None
        # The epoch and step that the reader comes to next, if it can go on.
        self._next: tuple[int, int] | None = None
        self._positions = share.epochs.positions(share.rank, share.world_size)

    def _batches(self, epoch: int, start_step: int) -> Iterator[tuple[int, ClipBatch]]:
        if start_step == self.steps_per_epoch:
            return
        reader = self._reader_at(epoch, start_step)
        # While this epoch is read, no other can go on from the reader's place.
        self._next = None
        try:
            for step in range(start_step, self.steps_per_epoch):
                count = int(self._positions[step + 1] - self._positions[step])
                yield step, self._gather(reader.take(count))
            self._next = (epoch + 1, 0)
        finally:
            # A consumer that stops inside an epoch will not go on from here. At the end of an
            # epoch the reader runs on.
            if self._next is None and self._reader is reader:
                self.close()

    def _reader_at(self, epoch: int, step: int) -> ClipReader:
        """Return the reader if it comes to this step next, or start another."""
        if self._reader is not None and self._next == (epoch, step):
            return self._reader
        self.close()
        self._reader = self._start_reader(epoch, int(self._positions[step]))
        return self._reader

    def _gather(self, parts: list[tuple[Window, np.ndarray]]) -> ClipBatch:
        """Copy a batch out of one window, or of two where it lies over the border."""
        chunks_of_windows = []
        rows = []
        ids = []
        rows_before = 0
        for window, rows_in_window in parts:
            chunks_of_windows += window.blocks.chunks
            rows.append(rows_before + rows_in_window)
            ids.append(window.ids[rows_in_window])
            rows_before += len(window.blocks)
        blocks = Blocks(chunks_of_windows)
        frames, offsets = blocks.gather(np.concatenate(rows), pin=self._share.pin)
        selection = self._share.selection
        clips = np.searchsorted(selection.ids, np.concatenate(ids))
        return self._share.batch(frames, offsets, torch.from_numpy(selection.facts(clips)))

    def close(self) -> None:
        """Shut the reader down. A later `epoch` starts another."""
        reader = self._reader
        self._reader = None
        self._next = None
        if reader is not None:
            reader.close()
