"""Reading what was measured of noise."""

import json

import pytest

from pipeline.core.errors import UserError
from pipeline.tables.noise import read_noise

DEVIATIONS = {
    "linear_top1": {"rounding": 0.017, "seeds": 0.02, "probe": 0.004},
    "knn_top1": {"rounding": 0.008, "seeds": 0.006, "probe": 0.0},
    "retrieval_map": {"rounding": 0.003, "seeds": 0.004, "probe": 0.0},
}


def test_tables_take_the_spread_of_equal_runs(tmp_path):
    assert read_noise(str(tmp_path)) is None
    content = {"configuration": "nw_ucla", "date": "2026-11-28", "runs": 8, **DEVIATIONS}
    (tmp_path / "noise.json").write_text(json.dumps(content))
    noise = read_noise(str(tmp_path))
    assert (noise.configuration, noise.date) == ("nw_ucla", "2026-11-28")
    assert noise.deviations == {
        "linear_top1": 0.017,
        "knn_top1": 0.008,
        "retrieval_map": 0.003,
    }


def test_what_is_no_noise_is_refused(tmp_path):
    for text in (
        "[]",
        "{}",
        "no",
        json.dumps({"configuration": "a", "date": "b"} | DEVIATIONS)[:-9],
    ):
        (tmp_path / "noise.json").write_text(text)
        with pytest.raises(UserError, match=r"noise\.json: not "):
            read_noise(str(tmp_path))
