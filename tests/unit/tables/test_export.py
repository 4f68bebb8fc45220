"""A comparison as CSV and as Parquet."""

import csv
import io

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.tables.compared import ComparedRun
from pipeline.tables.export import to_csv, to_parquet


def rows_of(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode())))


RUNS = [
    ComparedRun(
        "1", "a", "g", 0, "finished", {"lr": 0.1, "on": True, "no": None}, {"loss": 1, "top1": 0.5}
    ),
    ComparedRun("2", "b", "g", None, "failed", {"lr": "auto", "list": [1, 2]}, {"loss": 2}),
]


def test_parquet_has_a_row_a_run_and_one_type_a_column():
    table = pq.read_table(pa.BufferReader(to_parquet(RUNS)))
    assert table.to_pylist() == [
        {
            "id": "1",
            "name": "a",
            "group": "g",
            "seed": 0,
            "state": "finished",
            "notes": "",
            "metrics.loss": 1,
            "metrics.top1": 0.5,
            "params.lr": "0.1",
            "params.on": "true",
            "params.no": "null",
            "params.list": None,
        },
        {
            "id": "2",
            "name": "b",
            "group": "g",
            "seed": None,
            "state": "failed",
            "notes": "",
            "metrics.loss": 2,
            "metrics.top1": None,
            "params.lr": "auto",
            "params.on": None,
            "params.no": None,
            "params.list": "[1, 2]",
        },
    ]


def test_csv_says_the_same():
    first, second = rows_of(to_csv(RUNS))
    assert first["metrics.top1"] == "0.5" and first["params.on"] == "true"
    assert second["params.list"] == "[1, 2]" and second["metrics.top1"] == ""


def test_no_cell_of_a_csv_is_a_formula():
    values = ("=1+1", "+cmd", "@sum", "-cmd|' /C calc'!A0", "-1", "-0.5", "-1e-3", "-x", "plain")
    runs = [
        ComparedRun(str(n), value, "g", 0, "x", {"key": value}) for n, value in enumerate(values)
    ]
    cells = [row["params.key"] for row in rows_of(to_csv(runs))]
    assert [cell.startswith("'") for cell in cells] == [True] * 4 + [False] * 3 + [True, False]
    texts = pq.read_table(pa.BufferReader(to_parquet(runs)))["params.key"].to_pylist()
    assert texts == list(values)


def test_huge_and_mixed_numbers_have_a_column():
    runs = [
        ComparedRun(str(n), "a", "g", 0, "x", {"n": value}) for n, value in enumerate((2**70, 1))
    ]
    column = pq.read_table(pa.BufferReader(to_parquet(runs)))["params.n"].to_pylist()
    assert column == [float(2**70), 1.0]
