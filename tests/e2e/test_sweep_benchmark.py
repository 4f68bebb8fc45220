"""The benchmark of sweeps works, and prints what its page says."""

import json

from benchmarks import sweep
from tests.helpers.cli import TRACKING, access


def test_it_prints_every_figure(session_ray, capfd, monkeypatch):
    for name, value in access().items():
        monkeypatch.setenv(name, value)
    room = [f"cluster.address={session_ray}", "cluster.cpus_per_worker=0.4"]
    sweep.main(["--quick", *room, f"tracking.uri={TRACKING}"])
    figures = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert figures.keys() == {
        "overhead_seconds_per_trial",
        "gap_seconds",
        "reference_overhead_seconds_per_trial",
        "reference_gap_seconds",
    }
    assert figures["overhead_seconds_per_trial"] > 0
    # Two trials in two slots: none follows another one. The reference takes minutes.
    assert figures["gap_seconds"] == 0 and figures["reference_gap_seconds"] is None


def test_the_figures_of_trials_in_two_slots():
    # First step, last step, and the number of steps: all trainings take 10 seconds.
    trainings = [(1.0, 10.0, 10), (2.0, 11.0, 10), (12.0, 21.0, 10), (12.0, 21.0, 10)]
    found = sweep.figures_of(22.0, trainings)
    assert found["overhead_seconds_per_trial"] == (2 * 22 - 40) / 4
    # The third follows the first after 2 seconds, the fourth the second after 1.
    assert found["gap_seconds"] == 1.5
