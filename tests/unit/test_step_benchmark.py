"""The benchmark of a training step works, and prints what its page says."""

import json

import pytest

from benchmarks import step


def test_quick_prints_every_figure(capsys):
    step.main(["--quick"])
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures.keys() == {"ours_fp32", "ours_bf16", "scatter", "batch", "threads", "torch"}
    assert figures["ours_fp32"] > 0
    assert figures["ours_bf16"] > 0
    assert figures["scatter"].keys() == {"ours_fp32", "ours_bf16"}


def test_the_configuration_is_umurl():
    config = step.load(step.UMURL)
    assert config.objective.name == "umurl"
    assert (config.model.width, config.model.frames, config.data.persons) == (1024, 64, 2)


def test_quick_has_another_network_than_the_reference(capsys):
    with pytest.raises(SystemExit) as caught:
        step.main(["--quick", "--reference", "."])
    assert caught.value.code == 2
    assert "leave one of them out" in capsys.readouterr().err


def test_quick_compares_objectives(capsys):
    step.main(["--quick", "--objectives", "dc", "sce"])
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures.keys() == {"cpu_seconds", "ratio", "scatter", "threads", "torch"}
    assert figures["ratio"]["dc"] == 1
    assert figures["ratio"]["sce"] > 0
    with pytest.raises(SystemExit):
        step.main(["--objectives", "dc", "--reference", "."])
