"""Evaluation in this process, without Ray's actors and tasks: the same figures as the stage."""

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from pipeline.core.errors import UserError, first_line
from pipeline.evaluate.extractor import Extraction, Extractor, device_of
from pipeline.evaluate.features import ExtractedFeatures
from pipeline.evaluate.protocols import measure_encoder
from pipeline.evaluate.steps import exports_of, keep, protocols_of, settle_random_start
from pipeline.runs.resolved import ResolvedRun
from pipeline.stream.instructions import Shards, read_pieces


def evaluate_alone(run: ResolvedRun) -> dict[str, Any]:
    """Measure the run's encoder and its random start, and write the files of the stage `evaluate`.

    Args:
        run: the run, with both encoders exported.

    Returns:
        Flat figures for the summary, see `Evaluation.summary`.

    Raises:
        UserError: a store, protocol, label or export that cannot be evaluated.
    """
    cluster = run.config.cluster
    extracted = _extract(run)
    settle_random_start(run, extracted)
    split = run.split
    labels = (split.train_labels, split.test_labels)
    protocols = protocols_of(run)
    device = device_of(cluster)
    measurements = {}
    for name, features in extracted.features.items():
        sides = split.rows(features)
        try:
            measurement = measure_encoder(sides, labels, protocols, cluster.threads, device)
        except ValueError as error:
            raise UserError(f"evaluate: {first_line(error)}") from error
        measurements[name] = measurement
    return keep(run, extracted, measurements).summary()


def _extract(run: ResolvedRun) -> ExtractedFeatures:
    """Compute the features of both encoders in one reading of the store."""
    config = run.config
    store = run.store
    extractor = Extractor(
        Extraction(
            encoders=exports_of(run),
            persons=store.persons,
            joints=store.joints,
            threads=config.cluster.threads,
            device=device_of(config.cluster),
        )
    )
    ids = run.split.ids
    extracted = ExtractedFeatures.empty(len(ids), extractor.widths)
    pieces = pa.Table.from_pylist(Shards.of([store]).pieces(ids))
    done = 0
    for batch in batches(read_pieces(pieces), config.evaluate.batch_size):
        extracted.put(done, extractor(batch))
        done += batch.num_rows
    return extracted


def batches(tables: Iterable[pa.Table], size: int) -> Iterator[pa.Table]:
    """Cut tables that follow one another into tables of `size` rows; the last may be smaller.

    Example: tables of 5, 2 and 4 rows become tables of 3, 3, 3 and 2 rows.
    """
    waiting: list[pa.Table] = []
    rows = 0
    for table in tables:
        waiting.append(table)
        rows += table.num_rows
        if rows < size:
            continue
        joined = pa.concat_tables(waiting)
        whole = rows - rows % size
        for start in range(0, whole, size):
            yield joined.slice(start, size)
        waiting = [joined.slice(whole)]
        rows -= whole
    if rows:
        yield pa.concat_tables(waiting)
