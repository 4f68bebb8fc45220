"""The check that two versions of the code compute the same."""

import json

import pytest

from benchmarks import same_results
from tests.helpers.cli import TRACKING, access


@pytest.fixture(scope="module")
def settings(session_ray):
    return ["--quick", f"cluster.address={session_ray}", f"tracking.uri={TRACKING}"]


def test_a_version_computes_what_it_computed_before(settings, tmp_path, capsys, monkeypatch):
    for name, value in access().items():
        monkeypatch.setenv(name, value)
    assert same_results.main(settings) == 0
    before = json.loads(capsys.readouterr().out)
    assert before.keys() == {"fingerprint", "losses", "summary"}
    assert list(before["losses"]) == ["step 1", "step 2"]
    assert all("loss" in losses for losses in before["losses"].values())
    assert {"linear_top1", "random_linear_top1", "knn_top1", "clips"} <= before["summary"].keys()

    # The same run again is not worth its seconds: what it finds is put in its place.
    changed = json.loads(json.dumps(before))
    changed["losses"]["step 2"]["loss"] += 1e-7
    (tmp_path / "before.json").write_text(json.dumps(before))
    for found, code, shown in ((before, 0, "identical"), (changed, 1, "losses/step 2/loss: ")):
        monkeypatch.setattr(same_results, "run_main_job", lambda *_, found=found: found)
        assert same_results.main(["--before", str(tmp_path / "before.json"), *settings]) == code
        assert capsys.readouterr().out.startswith(shown)
