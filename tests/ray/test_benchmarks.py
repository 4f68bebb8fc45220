"""The benchmarks that need a Ray work, and print what their page says."""

import json

from benchmarks import ingest, stream


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
