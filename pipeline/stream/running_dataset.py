"""Datasets of Ray Data that read clips ahead, one after another, without a gap between them."""

import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from typing import cast

import numpy as np
import pyarrow as pa
import ray
import ray.data

from pipeline.core.arithmetic import ceil_div
from pipeline.core.errors import UserError, first_line
from pipeline.stream.instructions import PIECES_PER_TASK, READ_CPUS, Shards, read_pieces
from pipeline.stream.reading_list import Piece

# Tasks that read for one rank at the same time.
TASKS = 2
# Tasks of one dataset. To prepare one takes about a millisecond a task, and the next dataset is
# started before this one ends.
TASKS_PER_DATASET = 128
# How long a dataset that is closed early may go on to its end.
DRAIN_SECONDS = 2.0
# Blocks that tasks hand over: about a row group.
BLOCK_BYTES = 16 << 20


class RunningDataset:
    """A dataset of instructions that is being read. Its first table has arrived.

    Attributes:
        left: clips that it has not yielded yet.

    Args:
        pieces: rows for `read_pieces`.
        clips: how many clips they read.
        waiting_bytes: what may wait in the object store until it is taken.

    Raises:
        UserError: a shard cannot be read.
    """

    def __init__(self, pieces: list[dict], clips: int, waiting_bytes: int):
        self.left = clips
        blocks = ceil_div(len(pieces), PIECES_PER_TASK)
        dataset = ray.data.from_items(pieces, override_num_blocks=blocks).map_batches(
            read_pieces,
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=READ_CPUS,
            compute=ray.data.TaskPoolStrategy(size=TASKS),
        )
        context = dataset.context
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.target_max_block_size = BLOCK_BYTES
        context.execution_options.preserve_order = True
        context.execution_options.resource_limits = ray.data.ExecutionResources(
            object_store_memory=waiting_bytes
        )
        batches = dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=2)
        # Ray promises an iterator; it is a generator, which can be closed.
        self._tables = cast(Generator[pa.Table, None, None], iter(batches))
        # Waiting for the first table here is waiting while the dataset before still yields.
        self._table = self._next()

    def __iter__(self) -> Iterator[pa.Table]:
        while self._table is not None:
            table = self._table
            # A consumer may take long: do not hold what it is done with.
            self._table = None
            self.left -= len(table)
            yield table
            self._table = self._next()

    def _next(self) -> pa.Table | None:
        try:
            return next(self._tables, None)
        except ray.exceptions.RayTaskError as error:
            raise UserError(first_line(error)) from error

    def close(self) -> None:
        """Shut its executor down.

        What it still reads is taken for a moment and dropped: Ray Data cancels the tasks that are
        left, and where one ends just then, Ray 2.60 ends the process ("Tried to complete task that
        was not pending").
        """
        deadline = time.monotonic() + DRAIN_SECONDS
        with suppress(ray.exceptions.RayError):
            while time.monotonic() < deadline and next(self._tables, None) is not None:
                pass
        self._tables.close()


def read_ahead(
    pieces: Iterator[Piece], shards: Shards, ids: np.ndarray, waiting_bytes: int
) -> Generator[pa.Table, None, None]:
    """Yield the clips of an endless list, dataset after dataset.

    Each dataset is started when an eighth of the one before it is left, so that reading goes on
    without a gap. Closing the iterator shuts down what still reads.

    Args:
        pieces: what to read.
        shards: where it lies.
        ids: int64 [N], the selected ids that pieces count in.
        waiting_bytes: what may wait in the object store.
    """

    def start() -> RunningDataset:
        some = list(islice(pieces, TASKS_PER_DATASET * PIECES_PER_TASK))
        rows = [shards.instruction(piece, ids) for piece in some]
        clips = sum(len(piece) for piece in some)
        return RunningDataset(rows, clips, waiting_bytes)

    return _chain(start)


def _chain(start: Callable[[], RunningDataset]) -> Generator[pa.Table, None, None]:
    following: Future[RunningDataset] | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="clip-reader") as pool:
        current = start()
        try:
            while True:
                clips = current.left
                for table in current:
                    if following is None and current.left <= clips // 8:
                        following = pool.submit(start)
                    yield table
                current.close()
                # The last table of a dataset leaves nothing, so that the next one was started.
                assert following is not None
                current = following.result()
                following = None
        finally:
            current.close()
            if following is not None:
                following.result().close()
