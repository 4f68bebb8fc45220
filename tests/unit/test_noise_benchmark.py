"""The parts of the benchmark of noise: what differs between its runs, and its arithmetic."""

import json
import statistics
import threading

import numpy as np
import pytest
import torch

from benchmarks import noise
from benchmarks.rotated_run import RotatedPlan
from pipeline.config.compose import load
from pipeline.encoder.build import build_framework
from tests.helpers.stores import write_store
from tests.helpers.trials import SMALL

SHORT = (*SMALL, "model.dropout=0", "train.epochs=2", "data=synthetic", "stream.pairs=cameras")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    config = load(["data=synthetic", "data.persons=1"])
    return write_store(str(tmp_path_factory.mktemp("store")), config)


@pytest.fixture
def measurements(store, tmp_path):
    return noise.Measurements(str(tmp_path), [*SHORT, f"data.store={store}"], probes=2)


def stream_of(measurements, rotation):
    run = resolved(measurements, noise.PlannedRun("run", 0, rotation))
    return RotatedPlan(run, rotation).worker(0, 1, torch.device("cpu"), 1.0)


def resolved(measurements, planned):
    config = measurements.config_of(planned)
    directory = noise.RunDirectory.reading(config.output)
    return noise.resolve(config, noise.Request(), directory)


def clips_of(batch):
    """The clips of a batch, as (id, coordinates)."""
    clips = []
    for number in range(len(batch)):
        frames = batch.frames[batch.offsets[number] : batch.offsets[number + 1]]
        clips.append((int(batch.ids[number]), frames.numpy().tobytes()))
    return clips


def test_the_runs_of_eight():
    rounding, seeds, repeat = noise.planned_runs(5, 8)
    assert [run.rotation for run in rounding] == [0, 1, 2, 3, 4, 5, 6, 7]
    assert [run.threads for run in rounding] == [1, 2, 1, 2, 1, 2, 1, 2]
    assert {run.seed for run in rounding} == {5}
    assert [run.seed for run in seeds] == [5, 6, 7, 8, 9, 10, 11, 12]
    assert {(run.rotation, run.threads) for run in seeds} == {(0, 1)}
    # One run is of both kinds, and the repetition is in nothing but its name another one.
    assert rounding[0] == seeds[0]
    assert (repeat.seed, repeat.rotation, repeat.threads) == (5, 0, 1)
    names = {run.name for run in (*rounding, *seeds, repeat)}
    assert len(names) == 16


def test_rotated_batches_hold_the_same_clips_and_partners(measurements):
    plain = stream_of(measurements, 0)
    rotated = stream_of(measurements, 3)
    paired = 0
    for epoch in range(2):
        for (step, batch), (other_step, turned) in zip(
            plain.epoch(epoch), rotated.epoch(epoch), strict=True
        ):
            assert step == other_step
            clips = clips_of(batch)
            assert clips_of(turned) == clips[-3:] + clips[:-3]
            partners = clips_of(batch.other)
            assert clips_of(turned.other) == partners[-3:] + partners[:-3]
            paired += partners != clips
    assert paired


def test_a_rotated_batch_has_the_same_loss_but_for_rounding(measurements):
    run = resolved(measurements, noise.PlannedRun("run", 0))
    losses = []
    for rotation in (0, 7):
        _, batch = next(stream_of(measurements, rotation).epoch(0))
        framework = build_framework(run.config)
        losses.append(framework(batch, 0, 0)["loss"].item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_run_is_measured_equally_again_and_otherwise_rounded_otherwise(measurements):
    measurements.check()
    # One thread: two wait for each other where others compute, too.
    runs = [
        noise.PlannedRun("seed-0", 0),
        noise.PlannedRun("rounding-1", 0, rotation=1),
        noise.PlannedRun("repeat", 0),
    ]
    repeat = runs[-1]
    assert measurements.result(repeat) is None
    for planned in runs:
        measurements.measure(planned)
    first, rounded, repeated = (measurements.result(planned) for planned in runs)
    noise.require_equal(first, repeated)
    noise.require_different([first, rounded])
    with pytest.raises(SystemExit, match="a repeated run has other weights"):
        noise.require_equal(first, rounded)
    with pytest.raises(SystemExit, match="have the same weights"):
        noise.require_different([first, repeated])
    assert first["figures"].keys() == set(noise.METRICS)
    # The run's own probe has the seed of the run.
    assert first["probes"][0] == first["figures"]["linear_top1"]
    assert len(first["probes"]) == 2


def test_a_result_counts_for_the_same_settings_and_code_alone(measurements, store, monkeypatch):
    planned = noise.PlannedRun("seed-0", 0)
    place = noise.storage.join(measurements.work, planned.name, noise.RESULT)
    noise.storage.write_json(place, {"identity": measurements.identity(planned)})
    assert measurements.result(planned) is not None
    assert measurements.result(noise.PlannedRun("seed-0", 0, threads=2)) is None
    overrides = [*SHORT, f"data.store={store}", "train.batch_size=10"]
    assert noise.Measurements(measurements.work, overrides, 2).result(planned) is None
    monkeypatch.setattr(noise, "code_version", lambda: "another")
    assert measurements.result(planned) is None


def test_too_few_runs_for_a_deviation_are_refused_before_the_first(tmp_path):
    with pytest.raises(SystemExit, match="--runs must be at least 2"):
        noise.main(["--work", str(tmp_path / "work"), "--runs", "1"])
    assert not (tmp_path / "work").exists()


def test_runs_that_are_there_are_not_measured_again(measurements, monkeypatch, capsys):
    runs = noise.planned_runs(0, 3)[0]
    started = []
    for planned in runs[:2]:
        place = noise.storage.join(measurements.work, planned.name, noise.RESULT)
        noise.storage.write_json(place, {"identity": measurements.identity(planned)})

    def run(command, **_):
        started.append(command[-4:])
        name = command[-1]
        (planned,) = [planned for planned in runs if planned.name == name]
        place = noise.storage.join(measurements.work, name, noise.RESULT)
        noise.storage.write_json(place, {"identity": measurements.identity(planned)})

    monkeypatch.setattr(noise.subprocess, "run", run)
    noise.measure_missing(measurements, runs, 2, ["--work", "w", "a=b"])
    assert started == [["w", "a=b", "--only", "rounding-2"]]
    assert "2 of 3 runs are there" in capsys.readouterr().out


def test_runs_that_end_together_are_read_one_after_another(measurements, monkeypatch):
    """Hydra refuses to compose two configurations at the same time."""
    threads = []
    asked = set()
    monkeypatch.setattr(noise.subprocess, "run", lambda command, **_: None)

    def result(self, planned):
        threads.append(threading.current_thread())
        is_first = planned.name not in asked
        asked.add(planned.name)
        return None if is_first else {}

    monkeypatch.setattr(noise.Measurements, "result", result)
    noise.measure_missing(measurements, noise.planned_runs(0, 8)[1], 8, [])
    assert threads == [threading.main_thread()] * 16


def test_code_that_changes_meanwhile_is_noticed(measurements, monkeypatch):
    monkeypatch.setattr(noise.subprocess, "run", lambda command, **_: None)
    with pytest.raises(SystemExit, match="seed-0: the code was changed meanwhile"):
        noise.measure_missing(measurements, [noise.PlannedRun("seed-0", 0)], 2, [])


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("cluster.workers=2", "cluster.workers must be 1"),
        ("model.dropout=0.1", "model.dropout must be 0"),
    ],
)
def test_more_than_rounding_would_differ(store, tmp_path, override, reason):
    with pytest.raises(SystemExit, match=reason):
        noise.Measurements(str(tmp_path), [*SHORT, override], probes=2).check()


def test_the_default_configuration_is_that_of_nw_ucla(tmp_path):
    measurements = noise.Measurements(str(tmp_path), ["data.raw=nw-ucla.zip"], probes=8)
    config = measurements.config
    assert (config.name, config.cluster.workers, config.train.epochs) == ("nw_ucla", 1, 24)
    assert noise.Measurements(str(tmp_path), ["data=synthetic"], 8).config.name == "synthetic"


def result(linear, knn, retrieval, probes):
    figures = {"linear_top1": linear, "knn_top1": knn, "retrieval_map": retrieval}
    return {"figures": figures, "probes": probes}


def test_the_deviations():
    first = result(0.5, 0.4, 0.3, [0.5, 0.7])
    rounding = [first, result(0.7, 0.4, 0.1, [0.6, 0.6])]
    seeds = [first, result(0.9, 0.6, 0.3, [0.9, 1.0])]
    found = noise.noise_of(rounding, seeds)
    linear = found["linear_top1"]
    assert linear["rounding"] == pytest.approx(statistics.stdev([0.5, 0.7]))
    assert linear["seeds"] == pytest.approx(statistics.stdev([0.5, 0.9]))
    # The means of the probes are 0.6, 0.6 and 0.95.
    assert linear["rounding_training"] == pytest.approx(0)
    assert linear["seeds_training"] == pytest.approx(statistics.stdev([0.6, 0.95]))
    # Variances inside the three different runs: 0.02, 0 and 0.005.
    assert linear["probe"] == pytest.approx((0.025 / 3) ** 0.5)
    assert found["knn_top1"]["seeds"] == pytest.approx(statistics.stdev([0.4, 0.6]))
    assert found["knn_top1"]["probe"] == 0
    assert found["retrieval_map"]["rounding"] == pytest.approx(statistics.stdev([0.3, 0.1]))
    assert found["retrieval_map"]["values"]["seeds"] == [0.3, 0.3]
    assert json.loads(json.dumps(found)) == found


def test_the_probes_deviation_is_that_of_many_runs():
    """Runs differ by a lot, and probes by a standard normal number."""
    drawn = np.random.default_rng(0).normal(size=(2000, 8)) + 100 * np.arange(2000)[:, None]
    assert noise.deviation_within(drawn.tolist()) == pytest.approx(1, abs=0.03)


def test_the_table():
    first = result(0.5, 0.4, 0.3, [0.5, 0.7])
    second = result(0.7, 0.4, 0.1, [0.6, 0.6])
    lines = noise.table(noise.noise_of([first, second], [first, second])).splitlines()
    assert [line[:22].strip() for line in lines] == [
        "", "linear", "mean of probe seeds", "1-NN", "mAP",
    ]  # fmt: skip
    assert "60.0 ± 14.1 (50.0 to 70.0)" in lines[1]
    # Variances inside the three different runs: 0.02, 0 and 0.
    assert lines[1].endswith(" 8.2")
    assert "60.0 ± 0.0 (60.0 to 60.0)" in lines[2]
    assert "20.0 ± 14.1 (10.0 to 30.0)" in lines[4]
