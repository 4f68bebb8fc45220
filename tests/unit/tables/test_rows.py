"""Means, deviations and paired differences."""

import numpy as np
import pytest

from pipeline.tables.rows import Spread, flat, rows_of
from pipeline.tables.text import cells_of
from tests.helpers.measured import measured


def test_differences_are_paired_by_seed():
    records = []
    for seed, value in ((0, 0.90), (1, 0.80), (2, 0.85)):
        records.append(measured("full", seed, linear_top1=value))
    for seed, value in ((1, 0.79), (2, 0.82), (5, 0.10)):  # seed 5 has no partner
        records.append(measured("early", seed, linear_top1=value))
    rows = {row.variant: row for row in rows_of(records, ["full", "early", "absent"])}
    assert list(rows) == ["full", "early", "random"]
    assert rows["early"].figures["linear_top1"].mean == pytest.approx((0.79 + 0.82 + 0.10) / 3)
    difference = rows["early"].differences["linear_top1"]
    assert difference == pytest.approx((-0.02, np.sqrt((0.01**2 + 0.01**2) / 1)))
    assert rows["random"].figures["linear_top1"].mean == pytest.approx(0.6)
    assert rows["random"].costs["pretraining_gflops"] == 0
    assert "knn_top1" not in rows["full"].figures and rows["full"].differences == {}
    alone = rows_of(records[:1], ["full"])
    assert alone[0].figures["linear_top1"] == Spread(0.90, None)
    header, body = cells_of(list(rows.values()))
    assert body[1][header.index("Δ linear")] == "-2.0 ± 1.4"
    assert body[0][header.index("linear")] == "85.0 ± 5.0"


def test_a_figure_that_some_seeds_lack_is_not_compared():
    records = [
        measured("full", 0, linear_top1=0.9, knn_top1=0.8),
        measured("full", 1, linear_top1=0.9, knn_top1=0.8),
        measured("early", 0, linear_top1=0.8, knn_top1=0.7),
        measured("early", 1, linear_top1=0.8),
    ]
    early = rows_of(records, ["full", "early"])[1]
    assert early.figures.keys() == {"linear_top1", "random_linear_top1"}
    assert early.differences.keys() == {"linear_top1"}


def test_results_have_a_difference_only_beside_its_mean():
    records = [
        measured("full", 0, linear_top1=0.9, knn_top1=0.8),
        measured("early", 0, linear_top1=0.8, knn_top1=0.7),
        measured("early", 1, linear_top1=0.8),
    ]
    rows = rows_of(records, ["full", "early"])
    # Of the seeds that both have, seed 0, all have the figure; of all seeds of `early` not.
    assert "knn_top1" in rows[1].differences and "knn_top1" not in rows[1].figures
    results = flat(rows)
    assert results["early_linear_top1_difference"] == pytest.approx(-0.1)
    assert not any(name.startswith("early_knn_top1") for name in results)
    assert results["full_knn_top1"] == 0.8


def test_precision_has_a_column_where_all_variants_have_it():
    older = [measured("full", 0, linear_top1=0.9, knn_top1=0.8)]
    newer = [
        measured("full", 0, linear_top1=0.9, retrieval_map=0.6, random_retrieval_map=0.3),
        measured("early", 0, linear_top1=0.8, retrieval_map=0.52),
    ]
    rows = rows_of(newer, ["full", "early"])
    header, body = cells_of(rows)
    assert header.count("mAP") == header.count("Δ mAP") == 1
    place = header.index("mAP")
    assert [row[place] for row in body] == ["60.0", "52.0", "30.0"]
    assert body[1][header.index("Δ mAP")] == "-8.0"
    assert flat(rows)["early_retrieval_map_difference"] == pytest.approx(-0.08)
    mixed = rows_of([*older, newer[1]], ["full", "early"])
    assert "mAP" not in cells_of(mixed)[0]
