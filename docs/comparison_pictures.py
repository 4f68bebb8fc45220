"""Takes the pictures of docs/comparing.md from the page of a comparison, in headless Chromium.

    python docs/comparison_pictures.py outputs/search/comparison.html
    python docs/comparison_pictures.py outputs/search/comparison.html \
        'http://127.0.0.1:5000/#/compare-runs?runs=["ID","ID"]&experiments=["1"]'

The second address, if it is given, is that of MLflow's own page about some of these runs.
"""

import io
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))

from tests.helpers.browser import chromium, wait_for_text  # noqa: E402

SIZE = (1400, 1000)
# The animation of a chart, and the last letter of a filter.
PAUSE = 2.0


def picture(browser, name: str, selector: str) -> None:
    """Keep a part of the page as `docs/comparison_<name>.png`."""
    element = browser.find_element("css selector", selector)
    browser.execute_script("arguments[0].scrollIntoView()", element)
    keep(name, element.screenshot_as_png)


def keep(name: str, png: bytes) -> None:
    """Write a picture with 256 colours, which makes it a quarter as large."""
    image = Image.open(io.BytesIO(png)).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE)
    image.save(DOCS / f"comparison_{name}.png", optimize=True)


def take(browser, page: str) -> None:
    """Take the pictures of a comparison: the table, two selected rows, a range on an axis."""
    browser.get(Path(page).resolve().as_uri())
    height = browser.execute_script("return document.documentElement.scrollHeight")
    browser.set_window_size(SIZE[0], height + 200)
    browser.execute_script("document.getElementById('controls').style.position = 'static'")
    time.sleep(PAUSE)
    picture(browser, "page", "body")
    browser.execute_script(
        "const rows = document.querySelectorAll('#runs tbody tr');"
        "toggle(rows[0].dataset.key); toggle(rows[Math.min(9, rows.length - 1)].dataset.key);"
        "if (data.metrics.some((metric) => metric.key === 'loss')) chosen.metric = 'loss';"
        "chosen.over = parallelKeys()[0]; fillChoices(); update();"
    )
    time.sleep(PAUSE)
    picture(browser, "charts", ".pair")
    browser.execute_script(
        "brushes.set(parallelKeys()[0], [0.35, 0.75]); selected.clear(); update();"
    )
    time.sleep(PAUSE)
    picture(browser, "parallel", "#parallel-section")


def take_mlflow(browser, address: str) -> None:
    """Take the picture of MLflow's page about the same runs."""
    browser.set_window_size(*SIZE)
    browser.get(address)
    wait_for_text(browser, "Comparing")
    time.sleep(5 * PAUSE)
    keep("mlflow", browser.get_screenshot_as_png())


def main(arguments: list[str]) -> None:
    """Take the pictures."""
    with tempfile.TemporaryDirectory() as profile, chromium(Path(profile), SIZE) as browser:
        take(browser, arguments[0])
        if len(arguments) > 1:
            take_mlflow(browser, arguments[1])


if __name__ == "__main__":
    main(sys.argv[1:])
