"""The environment that libraries find when they are imported."""

import os

import pytest

from pipeline.core.environment import SUBMITTED_JOB, prepare_environment


@pytest.fixture
def own_environment(monkeypatch):
    monkeypatch.setattr(os, "environ", dict(os.environ))
    os.environ.pop("RAY_ENABLE_UV_RUN_RUNTIME_ENV", None)
    os.environ.pop(SUBMITTED_JOB, None)


def test_the_backend_of_a_notebook_is_replaced(own_environment):
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    prepare_environment()
    assert os.environ["MPLBACKEND"] == "agg"


def test_under_uv_the_working_directory_is_not_copied(own_environment):
    prepare_environment()
    assert os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] == "0"


def test_in_a_submitted_job_ray_copies_what_the_user_chose(own_environment):
    os.environ[SUBMITTED_JOB] = "{}"
    prepare_environment()
    assert "RAY_ENABLE_UV_RUN_RUNTIME_ENV" not in os.environ


def test_what_the_user_set_stays(own_environment):
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "1"
    prepare_environment()
    assert os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] == "1"
