"""The page of a comparison in a real browser, and MLflow's own page about the same runs."""

import json
import shutil
import urllib.parse
from dataclasses import replace

import pytest
from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

from pipeline.tables.compared import ComparedRun
from pipeline.tables.comparison import write_comparison
from tests.helpers import hostile
from tests.helpers.browser import (
    chromium,
    complaints_of,
    mlflow_server,
    needs_browser,
    requests_of,
    wait_for_text,
)
from tests.helpers.comparisons import searched

pytestmark = needs_browser

FIGURE = "held_out/linear_top1"
RUNS = 200


@pytest.fixture(scope="module")
def runs() -> list[ComparedRun]:
    return searched(RUNS // 2, seeds=2)


@pytest.fixture(scope="module")
def address(runs, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("comparison")
    write_comparison(runs, str(folder), "search", about="Made up.")
    return (folder / "comparison.html").as_uri()


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture
def browser(driver, address):
    """A browser that has just opened the page."""
    # An address that differs in its fragment alone would not load the page again.
    driver.get("about:blank")
    requests_of(driver)
    complaints_of(driver)
    driver.get(address)
    wait_for(driver, "return document.querySelectorAll('#runs tbody tr').length > 0")
    return driver


def wait_for(browser, script: str) -> None:
    """Wait until a script says true; the page draws a moment after a letter is typed."""
    WebDriverWait(browser, 30).until(lambda driver: driver.execute_script(script))


def column(browser, key: str) -> list[str]:
    """The texts of a column of the table, from top to bottom."""
    return browser.execute_script(
        """const heads = [...document.querySelectorAll('#runs thead tr:last-child th')];
        const place = heads.findIndex((head) => head.dataset.key === arguments[0]);
        const rows = [...document.querySelectorAll('#runs tbody tr')];
        return rows.map((row) => row.cells[place].innerText);""",
        key,
    )


def click_heading(browser, key: str) -> None:
    browser.find_element(By.CSS_SELECTOR, f"#runs th[data-key='{key}']").click()


def type_filter(browser, text: str) -> None:
    box = browser.find_element(By.ID, "filter")
    box.clear()
    box.send_keys(text)
    # The page waits for the last letter. Its address has the filter when all is drawn.
    kept = "JSON.parse(decodeURIComponent(location.hash.slice(1))).filter"
    wait_for(browser, f"return {kept} === {json.dumps(text)}")
    assert count(browser) == shown_rows(browser)


def count(browser) -> int:
    """What the page says it shows."""
    return int(browser.find_element(By.ID, "count").text.split()[0])


def shown_rows(browser) -> int:
    return len(browser.find_elements(By.CSS_SELECTOR, "#runs tbody tr"))


def single_runs(browser) -> None:
    browser.find_element(By.ID, "grouped").click()
    wait_for(browser, "return !chosen.grouped")


def test_it_draws_everything_and_asks_for_nothing(browser, runs):
    assert shown_rows(browser) == count(browser) == RUNS // 2
    drawn = browser.execute_script(
        """return {
          lines: document.querySelectorAll('#parallel polyline').length,
          axes: [...document.querySelectorAll('#parallel .axis .name')].map(
            (text) => text.firstChild.textContent),
          curves: document.querySelectorAll('#curves .scatterlayer .trace').length,
          points: document.querySelectorAll('#scatter .points path').length,
          bars: document.querySelectorAll('#importance .bars .point').length,
          shared: document.querySelectorAll('#shared tr').length,
        }"""
    )
    finished = {run.group for run in runs if run.figures}
    assert drawn["lines"] == RUNS // 2 and drawn["curves"] == RUNS // 2
    assert drawn["points"] == len(finished)
    # What matters most comes first, and the figure last.
    assert drawn["axes"][0] == "lr" and drawn["axes"][-1] == "held out: linear"
    assert len(drawn["axes"]) == 6 and drawn["bars"] == 5 and drawn["shared"] == 90
    assert complaints_of(browser) == []
    assert {address.partition(":")[0] for address in requests_of(browser)} <= {"file", "data"}


def test_a_click_sorts(browser):
    single_runs(browser)
    values = [float(text) for text in column(browser, FIGURE) if text]
    assert values == sorted(values, reverse=True)
    click_heading(browser, "train.optimiser.lr")
    rates = [float(text) for text in column(browser, "train.optimiser.lr")]
    assert rates == sorted(rates) and len(rates) == RUNS
    click_heading(browser, "train.optimiser.lr")
    assert [float(text) for text in column(browser, "train.optimiser.lr")] == rates[::-1]
    click_heading(browser, FIGURE)
    click_heading(browser, FIGURE)
    texts = column(browser, FIGURE)
    known = [float(text) for text in texts if text]
    # From the worst to the best; runs without it are last in both directions.
    assert known == sorted(known) and texts[len(known) :] == [""] * (RUNS - len(known))


def test_a_filter_that_is_typed_narrows_everything(browser, runs):
    single_runs(browser)
    type_filter(browser, "state=finished lr < 0.001 -late")
    expected = set()
    for run in runs:
        is_small = run.parameters["train.optimiser.lr"] < 0.001
        if run.state == "finished" and is_small and run.parameters["model.fusion"] != "late":
            expected.add(run.name)
    names = column(browser, "name")
    assert {name.split()[0] for name in names} == expected and len(names) == len(expected)
    lines = browser.find_elements(By.CSS_SELECTOR, "#parallel polyline")
    assert len(lines) == len(expected)
    # As people see it: in percent.
    type_filter(browser, "linear>=85")
    assert min(float(text) for text in column(browser, FIGURE)) >= 84.95
    type_filter(browser, "wdth=3")
    assert "no column is called wdth" in browser.find_element(By.ID, "problem").text
    type_filter(browser, "nobody")
    assert shown_rows(browser) == 0 and complaints_of(browser) == []
    browser.find_element(By.ID, "clear").click()
    assert shown_rows(browser) == RUNS


def test_a_range_on_an_axis_keeps_its_rows(browser, runs):
    handle = browser.find_element(
        By.CSS_SELECTOR, "#parallel .axis[data-key='model.layers'] .handle"
    )
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", handle)
    height = handle.size["height"]
    # The upper half: 3 and 4 of 1 to 4.
    actions = ActionChains(browser)
    actions.move_to_element_with_offset(handle, 0, -height // 2 + 2).click_and_hold()
    actions.move_by_offset(0, height // 2 - 4).release().perform()
    layers = set(column(browser, "model.layers"))
    assert layers == {"3", "4"}
    dimmed = browser.find_elements(By.CSS_SELECTOR, "#parallel polyline.out")
    assert len(dimmed) + shown_rows(browser) == RUNS // 2
    assert "ranges on layers" in browser.find_element(By.ID, "narrowed").text


def test_rows_are_marked_compared_and_kept_in_the_address(browser, address):
    rows = browser.find_elements(By.CSS_SELECTOR, "#runs tbody tr")
    rows[0].find_element(By.CSS_SELECTOR, "td.state").click()
    assert browser.execute_script("return selected.size") == 1
    assert len(browser.find_elements(By.CSS_SELECTOR, "#parallel .selected")) == 1
    assert column(browser, "name")[0].split()[0] in browser.find_element(By.ID, "scatter").text
    second = browser.find_elements(By.CSS_SELECTOR, "#runs tbody tr")[1]
    ActionChains(browser).move_to_element(second).perform()
    second.find_element(By.CLASS_NAME, "flag").click()
    differences = column(browser, "difference")
    assert differences[1] == "" and differences[0].startswith("+")
    Select(browser.find_element(By.ID, "metric")).select_by_value("loss")
    type_filter(browser, "late")
    kept = browser.current_url
    browser.get("about:blank")
    browser.get(kept)
    wait_for(browser, "return document.querySelectorAll('#runs tbody tr').length > 0")
    assert browser.find_element(By.ID, "filter").get_attribute("value") == "late"
    assert browser.execute_script("return chosen.metric") == "loss"
    # An address that somebody made up does no harm.
    browser.get("about:blank")
    browser.get(f"{address}#%7B%22figure%22:%22absent%22,%22filter%22:7,%22sort%22:%22x%22%7D")
    wait_for(browser, "return document.querySelectorAll('#runs tbody tr').length > 0")
    assert complaints_of(browser) == []


def test_columns_can_be_shown_and_hidden(browser):
    browser.execute_script("document.querySelector('details').open = true")
    assert "section0.key0" not in [head.text for head in headings(browser)]
    browser.find_element(By.CSS_SELECTOR, "#columns input[value='section0.key0']").click()
    assert set(column(browser, "section0.key0")) == {"0"}
    browser.find_element(By.CSS_SELECTOR, "#columns input[value='effective_rank']").click()
    assert "effective_rank" not in [head.get_attribute("data-key") for head in headings(browser)]


def headings(browser):
    return browser.find_elements(By.CSS_SELECTOR, "#runs thead tr:last-child th")


def test_many_rows_are_drawn_at_once(browser):
    single_runs(browser)
    seconds = browser.execute_script(
        "const start = performance.now(); update(); return (performance.now() - start) / 1000"
    )
    # On a busy machine; it takes 0.2 s otherwise.
    assert seconds < 5


def test_names_are_no_code(driver, tmp_path):
    # As many as there are attacks, or parameters of the others would be shown, too.
    runs = searched(len(hostile.ALL) + 1, curve_points=4)
    bad = [f"{name}<img src=x onerror=document.title='bad'>" for name in hostile.ALL]
    attacks = (*bad, "javascript:document.title='bad'")
    for number, name in enumerate(attacks):
        parameters = {"train.optimiser.lr": 0.1 * number, "model.fusion": name, name: name}
        figures = {**runs[number].figures, name: 0.5}
        texts = {"name": name, "group": name, "state": name, "link": name, "notes": name}
        runs[number] = replace(runs[number], parameters=parameters, figures=figures, **texts)
    write_comparison(runs, str(tmp_path), attacks[1], about=attacks[1])
    driver.get((tmp_path / "comparison.html").as_uri())
    wait_for(driver, "return document.querySelectorAll('#runs tbody tr').length > 0")
    driver.execute_script("showColumns(data.columns.map((column) => column.key), true)")
    keys = driver.execute_script("return data.columns.map((column) => column.key)")
    assert len(keys) < 30
    for key in keys:
        driver.execute_script("chosen.over = arguments[0]; update()", key)
    assert "bad" in driver.title and driver.title != "bad"
    made = driver.execute_script("return document.querySelectorAll('main img, main script').length")
    assert made == 0
    links = driver.execute_script("return [...document.querySelectorAll('a')].map((a) => a.href)")
    assert not [link for link in links if link.startswith("javascript")]
    # Plotly makes a link of a tag in a text, if it is one.
    assert driver.execute_script("return document.querySelectorAll('svg a').length") == 0


def test_few_runs_have_what_can_be_told_of_them(driver, tmp_path):
    bare = ComparedRun("1", "alone", "alone", None, "open", {"lr": 1})
    write_comparison([bare], str(tmp_path), "one")
    driver.get((tmp_path / "comparison.html").as_uri())
    wait_for(driver, "return document.querySelectorAll('#runs tbody tr').length === 1")
    hidden = driver.execute_script(
        "return [...document.querySelectorAll('section')].filter((s) => s.hidden).map((s) => s.id)"
    )
    assert {"parallel-section", "curves-section", "scatter-section", "importance-section"} <= set(
        hidden
    )
    assert complaints_of(driver) == []


def test_mlflow_compares_the_same_runs(runs, driver, empty_database, tmp_path):
    database = tmp_path / "mlflow.db"
    shutil.copy(empty_database, database)
    client = MlflowClient(f"sqlite:///{database}")
    experiment = client.create_experiment("skelfuse", str(tmp_path / "artifacts"))
    ids = []
    for run in [run for run in runs if run.state == "finished"][:3]:
        made = client.create_run(experiment, run_name=run.name).info.run_id
        params = [Param(key, str(value)) for key, value in run.parameters.items()]
        client.log_batch(made, [Metric("loss", run.figures["loss"], 5, 1)], params)
        client.set_terminated(made)
        ids.append(made)
    chosen = urllib.parse.urlencode(
        {"runs": json.dumps(ids), "experiments": json.dumps([experiment])}
    )
    with mlflow_server(database, tmp_path / "log") as server:
        driver.get(f"{server}/#/compare-runs?{chosen}")
        wait_for_text(driver, "Comparing 3 Runs", runs[0].name, "train.optimiser.lr")
