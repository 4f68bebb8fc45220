"""Evaluation in this process: batches are those of the whole reading, whatever tables it gives."""

import pyarrow as pa
import pytest

from pipeline.evaluate.alone import batches


@pytest.mark.parametrize(
    ("rows", "size", "expected"),
    [
        ([5, 2, 4], 3, [3, 3, 3, 2]),
        ([1, 1, 1], 3, [3]),
        ([7], 3, [3, 3, 1]),
        ([0, 2], 3, [2]),
        ([3, 3], 3, [3, 3]),
        ([], 3, []),
    ],
)
def test_tables_are_cut_into_batches(rows, size, expected):
    tables = []
    for count in rows:
        first = sum(table.num_rows for table in tables)
        tables.append(pa.table({"id": pa.array(range(first, first + count), pa.int64())}))
    cut = list(batches(tables, size))
    assert [table.num_rows for table in cut] == expected
    ids = [number for table in cut for number in table["id"].to_pylist()]
    assert ids == list(range(sum(rows)))
