"""The section `compare`: it is read by one stage, and no other run has it."""

import pytest

from pipeline.config.compare import Compare
from pipeline.config.compose import load
from pipeline.config.identity import digest
from pipeline.config.root import check
from pipeline.core.errors import ConfigError


def test_the_files_have_the_defaults_of_the_section():
    assert load(["stages=[compare]"]).compare == Compare()


def test_other_runs_do_not_have_it():
    config = load([])
    assert config.compare is None
    assert check(config.model_dump()) == config


def test_it_decides_nothing_that_is_computed():
    assert digest(load(["stages=[compare]", "compare.figure=loss"])) == digest(load([]))


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        (["compare.figure=loss"], "compare: only the stage compare reads it"),
        (["compare.curves=[]"], "compare: only the stage compare reads it"),
        (["compare.absent=1"], "compare.absent"),
        (["compare.files=[xlsx]"], "compare.files"),
        (["stages=[compare]", "compare.runs=[a,a]"], "compare.runs: each run only once"),
        (["stages=[compare]", "compare.runs=[a/b]"], "compare.runs.0='a/b'"),
        (["stages=[compare]", "compare.runs=[a]", "compare.sweep=b"], "compare.runs: name either"),
        (["stages=[compare]", "compare.filter=''"], "compare.filter"),
        (["stages=[pretrain,compare]"], "stages: compare must be the only stage"),
    ],
)
def test_what_is_refused(overrides, part):
    with pytest.raises(ConfigError) as error:
        load(overrides)
    assert part in str(error.value)
