"""The check that two versions of the code compute the same."""

import json

import pytest

from benchmarks import same_results
from tests.helpers.cli import TRACKING, access

# What the main job logs: every second step, and the step of every checkpoint.
LOGGED_STEPS = [f"step {step}" for step in (2, 3, 4, 6, 8, 9, 10, 12, 14, 15, 16)]


def check_content(found, steps):
    assert found.keys() == {"fingerprint", "losses", "summary"}
    assert list(found["losses"]) == steps
    assert all("loss" in losses for losses in found["losses"].values())
    assert {"linear_top1", "random_linear_top1", "knn_top1", "clips"} <= found["summary"].keys()


def test_a_version_computes_what_it_computed_before(main_job, tmp_path, capsys):
    output = ["--output", str(main_job)]
    assert same_results.main(output) == 0
    before = json.loads(capsys.readouterr().out)
    check_content(before, LOGGED_STEPS)

    changed = json.loads(json.dumps(before))
    changed["losses"]["step 2"]["loss"] += 1e-7
    kept = tmp_path / "before.json"
    for content, code, shown in ((before, 0, "identical"), (changed, 1, "losses/step 2/loss: ")):
        kept.write_text(json.dumps(content))
        assert same_results.main(["--before", str(kept), *output]) == code
        assert capsys.readouterr().out.startswith(shown)


def test_settings_are_refused_where_nothing_is_run(tmp_path, capsys):
    with pytest.raises(SystemExit):
        same_results.main(["--output", str(tmp_path), "--quick"])
    assert "leave out --quick and key=value" in capsys.readouterr().err


@pytest.mark.slow
def test_the_quick_run_holds_what_is_compared(session_ray, capsys, monkeypatch):
    for name, value in access().items():
        monkeypatch.setenv(name, value)
    settings = ["--quick", f"cluster.address={session_ray}", f"tracking.uri={TRACKING}"]
    assert same_results.main(settings) == 0
    check_content(json.loads(capsys.readouterr().out), ["step 1", "step 2"])
