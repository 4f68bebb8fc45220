"""The MLflow page of a finished run, in a real browser."""

import json
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.helpers.cli import environment
from tests.helpers.ports import free_ports

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed"
)


@pytest.fixture(scope="module")
def server(main_job, tmp_path_factory):
    """The address of an MLflow server over the run's own database."""
    (port,) = free_ports(1)
    log = tmp_path_factory.mktemp("server") / "log"
    arguments = [
        "--backend-store-uri",
        f"sqlite:///{main_job}/mlflow.db",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    with log.open("w") as out:
        process = subprocess.Popen(
            [Path(sys.executable).parent / "mlflow", "server", *arguments, "--workers", "1"],
            env=environment(MLFLOW_DISABLE_TELEMETRY="true"),
            stdout=out,
            stderr=out,
            cwd=log.parent,
        )
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(f"{address}/health", timeout=5)
            break
        except OSError:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.5)
    yield address
    process.terminate()
    process.wait(30)


@pytest.fixture
def browser(tmp_path):
    options = Options()
    options.binary_location = CHROMIUM
    for flag in (
        *(
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--window-size=1500,1800",
        ),
        *(
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
        ),
        f"--user-data-dir={tmp_path / 'profile'}",
    ):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def wait_for_text(browser, *words):
    def shown(driver):
        text = driver.find_element(By.TAG_NAME, "body").text
        return all(word in text for word in words)

    try:
        WebDriverWait(browser, 60).until(shown)
    except Exception:
        raise AssertionError(
            f"{words} not on the page:\n{browser.find_element(By.TAG_NAME, 'body').text}"
        ) from None


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
