"""The benchmarks that need a Ray work, and print what their page says."""

import json

from benchmarks import ingest, noise, stream
from pipeline.config.compose import load
from pipeline.core import storage
from tests.helpers.stores import write_store
from tests.helpers.trials import SMALL, order_of, run_trial_of


def test_ingest_prints_every_figure(ray_session, capsys):
    ingest.main(["--quick"])
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures.keys() == {
        "parse_mb_per_second",
        "reference_mb_per_second",
        "ratio",
        "two_core_speedup",
        "files_per_second",
        "bytes_per_clip",
        "raw_bytes_per_clip",
        "padded_bytes_per_clip",
    }
    # There is no reference here to be compared with.
    assert figures.pop("reference_mb_per_second") is None
    assert figures.pop("ratio") is None
    assert all(value > 0 for value in figures.values())
    assert ray_session.is_initialized()


def test_stream_prints_every_figure(ray_session, capsys):
    stream.main(["--quick"])
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    of_a_cache = {"clips_per_second", "ratio", "private_mb", "private_mb_quarter"}
    assert figures.keys() == {
        "clips",
        "scan_clips_per_second",
        "memory_first_batch_seconds",
        "memory_first_batch_seconds_worst",
        "none_gap_seconds",
        "none_gap_seconds_worst",
        *(f"memory_{name}" for name in of_a_cache),
        *(f"none_{name}" for name in of_a_cache),
    }
    assert figures["clips"] == stream.QUICK["clips"]
    assert figures["memory_ratio"] > 0
    assert figures["none_ratio"] > 0
    assert ray_session.is_initialized()


def test_the_first_run_of_noise_is_the_trial_of_a_table(ray_session, tmp_path):
    store = write_store(str(tmp_path / "store"), load(["data=synthetic", "data.persons=1"]))
    overrides = ["data=synthetic", "model.dropout=0", "train.epochs=2"]
    order = order_of(store, tmp_path / "trial", "stages=[pretrain,evaluate]", *overrides)
    results = run_trial_of(order)[-1].results["evaluate"]

    work = str(tmp_path / "noise")
    measurements = noise.Measurements(work, [*SMALL, *overrides, f"data.store={store}"], probes=1)
    first = noise.PlannedRun("seed-0", 0)
    measurements.measure(first)
    for metric, value in measurements.result(first)["figures"].items():
        assert value == results[metric]
    weights = []
    for folder in (tmp_path / "trial", tmp_path / "noise" / first.name):
        weights.append(storage.read_bytes(str(folder / "encoder" / noise.WEIGHTS)))
    assert weights[0] == weights[1]
