"""The MLflow page of a finished run, in a real browser."""

import json
import urllib.request

import pytest

from tests.helpers.browser import chromium, mlflow_server, needs_browser, wait_for_text

pytestmark = needs_browser


@pytest.fixture(scope="module")
def server(main_job, tmp_path_factory):
    """The address of an MLflow server over the run's own database."""
    log = tmp_path_factory.mktemp("server") / "log"
    with mlflow_server(main_job / "mlflow.db", log) as address:
        yield address


@pytest.fixture
def browser(tmp_path):
    with chromium(tmp_path / "profile") as driver:
        yield driver


def test_the_runs_page_shows_its_metrics_and_artifacts(server, main_job, browser):
    summary = json.loads((main_job / "summary.json").read_text())
    with urllib.request.urlopen(
        f"{server}/api/2.0/mlflow/runs/get?run_id={summary['mlflow_run_id']}"
    ) as answer:
        experiment = json.load(answer)["run"]["info"]["experiment_id"]
    page = f"{server}/#/experiments/{experiment}/runs/{summary['mlflow_run_id']}"
    browser.get(page)
    wait_for_text(
        browser, "synthetic", "linear/top1", "loss/decomposition", "objective.alignment.temperature"
    )
    browser.get(f"{page}/artifacts")
    wait_for_text(browser, "figures", "encoder", "summary.json", "config.yaml")
