"""The command line, without a process of its own."""

import pytest

from pipeline.cli import parse_arguments
from pipeline.run import main


def test_help_names_experiments_groups_and_keys(capsys):
    with pytest.raises(SystemExit) as ended:
        parse_arguments(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for word in ("experiment=NAME", "nw_ucla", "cluster=", "data.raw=PATH", "--cfg"):
        assert word in shown


def test_an_unknown_option_exits_with_2(capsys):
    with pytest.raises(SystemExit) as ended:
        parse_arguments(["--nope"])
    assert ended.value.code == 2
    assert "--nope" in capsys.readouterr().err


def test_overrides_and_options_may_come_in_any_order():
    options = parse_arguments(["seed=1", "--config-dir", "mine", "data=mine"])
    assert (options.overrides, options.config_dir, options.cfg) == (
        ["seed=1", "data=mine"],
        "mine",
        None,
    )


def test_the_configuration_is_printed(capsys):
    assert main(["--cfg", "job", "seed=3"]) == 0
    shown = capsys.readouterr().out
    assert "temperature: 0.1" in shown
    assert "seed: 3" in shown


def test_a_wrong_request_is_one_line_and_exits_with_2(capsys, tmp_path):
    assert main(["stages=[report]", f"output={tmp_path / 'nothing'}"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: data.raw: missing, and no whole clip store at")
    assert shown.err.count("\n") == 1
    assert not list(tmp_path.iterdir())
