"""A configuration reads listed environment variables only."""

import pytest

from pipeline.config.compose import load
from pipeline.config.variables import read_variable
from pipeline.core.errors import ConfigError


def test_listed_variables_are_read(monkeypatch):
    monkeypatch.setenv("SKELFUSE_RUNS", "/runs")
    monkeypatch.setenv("SCRATCH", "/scratch")
    assert load(["output=${oc.env:SKELFUSE_RUNS}/x"]).output == "/runs/x"
    assert read_variable("SCRATCH") == "/scratch"


def test_any_other_variable_is_refused_and_its_value_not_shown(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted-secret")
    for value in ("${oc.env:AWS_SECRET_ACCESS_KEY}", "a/${oc.env:AWS_SECRET_ACCESS_KEY,b}"):
        with pytest.raises(ConfigError, match=r"AWS_SECRET_ACCESS_KEY.*SKELFUSE_\*") as caught:
            load([f"tracking.experiment={value!r}"])
        assert "planted-secret" not in str(caught.value)


def test_an_empty_variable_counts_as_unset(monkeypatch):
    monkeypatch.setenv("SKELFUSE_STORAGE", "")
    assert read_variable("SKELFUSE_STORAGE", "outputs") == "outputs"
    assert read_variable("SKELFUSE_STORAGE", None) is None
    with pytest.raises(ConfigError, match=r"SKELFUSE_STORAGE.*not set"):
        read_variable("SKELFUSE_STORAGE")
