"""A headless Chromium, and an MLflow server whose pages it can open."""

import json
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
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
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)

needs_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed"
)


@contextmanager
def chromium(profile: Path, size: tuple[int, int] = (1500, 1800)) -> Iterator[webdriver.Chrome]:
    """A browser that notes its console and every request. It ends with the block."""
    options = Options()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--window-size={size[0]},{size[1]}", f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def requests_of(browser: webdriver.Chrome) -> list[str]:
    """The addresses that the browser has asked for since it was last asked."""
    addresses = []
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            addresses.append(message["params"]["request"]["url"])
    return addresses


def complaints_of(browser: webdriver.Chrome) -> list[str]:
    """What the browser has complained about on its console."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def wait_for_text(browser: webdriver.Chrome, *words: str) -> None:
    """Wait until the page shows all these words."""

    def shown(driver):
        text = driver.find_element(By.TAG_NAME, "body").text
        return all(word in text for word in words)

    try:
        WebDriverWait(browser, 60).until(shown)
    except Exception:
        raise AssertionError(
            f"{words} not on the page:\n{browser.find_element(By.TAG_NAME, 'body').text}"
        ) from None


@contextmanager
def mlflow_server(database: Path, log: Path) -> Iterator[str]:
    """The address of an MLflow server over a database."""
    (port,) = free_ports(1)
    arguments = [
        "--backend-store-uri",
        f"sqlite:///{database}",
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
    try:
        while True:
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5)
                break
            except OSError:
                text = log.read_text()[-2000:]
                assert process.poll() is None and time.monotonic() < deadline, text
                time.sleep(0.5)
        yield address
    finally:
        process.terminate()
        process.wait(30)
