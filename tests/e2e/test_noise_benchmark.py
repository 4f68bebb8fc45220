"""The benchmark of noise works as a command, prints what its page says, and goes on."""

import json

from benchmarks import noise
from pipeline.tables.noise import read_noise
from tests.helpers.cli import TINY, TRACKING, access


def test_it_prints_every_figure(session_ray, tmp_path, capfd, monkeypatch):
    for name, value in access().items():
        monkeypatch.setenv(name, value)
    output = tmp_path / "noise.json"
    # Runs of the benchmark have one worker, and only the ingest needs a Ray.
    cluster = [f"cluster.address={session_ray}", "cluster.cpus_per_worker=0.4"]
    command = ["--work", str(tmp_path / "runs"), "--runs", "2", "--output", str(output)]
    command += ["data=synthetic", *TINY, *cluster, f"tracking.uri={TRACKING}"]
    noise.main(command)
    printed = capfd.readouterr().out.splitlines()
    found = json.loads(printed[-1])
    assert found == json.loads(output.read_text())
    assert found.keys() == {
        *("configuration", "command", "date", "runs", "code"),
        *("linear_top1", "knn_top1", "retrieval_map"),
    }
    assert found["configuration"] == "synthetic"
    assert "data=synthetic" in found["command"]
    # No place of this machine.
    assert str(tmp_path) not in output.read_text()
    for metric in noise.METRICS:
        assert found[metric].keys() >= {"rounding", "seeds", "probe", "values"}
        assert [len(found[metric]["values"][kind]) for kind in ("rounding", "seeds")] == [2, 2]
    # Tables show it.
    shown = read_noise(str(tmp_path)).deviations
    assert shown == {metric: found[metric]["rounding"] for metric in noise.METRICS}
    assert "0 of 2 runs are there" in printed[0]

    noise.main(command)
    again = capfd.readouterr().out.splitlines()
    assert again[:2] == ["2 of 2 runs are there", "2 of 2 runs are there"]
    assert json.loads(again[-1]) == found
