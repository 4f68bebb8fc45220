"""Publishing the records of a run, and what the published tables of the project say."""

import importlib.util
import json
import shutil
from functools import cache

import pytest

from pipeline.config.compose import load
from pipeline.core.errors import ConfigError
from pipeline.sweep import book
from pipeline.sweep.publish import draw, problems, publish
from pipeline.sweep.records import read_records, write_records
from pipeline.sweep.variants import Variant
from tests.helpers.paths import ROOT
from tests.helpers.tables import (
    ONE_VARIANT,
    VARIANTS,
    PlayedTrials,
    forget,
    play,
    quickly,
    record,
    records_of,
    table_run,
)

PUBLISHED = sorted((ROOT / "results").glob("*.jsonl"))


@pytest.fixture(autouse=True)
def _quickly(monkeypatch):
    quickly(monkeypatch)


@pytest.fixture(scope="module")
def command():
    """The script `results/publish.py` as a function of its arguments."""
    spec = importlib.util.spec_from_file_location("publish_script", ROOT / "results" / "publish.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return lambda *arguments: script.main([str(argument) for argument in arguments])


def test_the_published_tables_are_up_to_date(command, capsys):
    assert command("--check") == 0, capsys.readouterr().err
    assert problems(str(ROOT / "results")) == []


def test_published_records_are_whole_and_in_order():
    names = []
    for path in PUBLISHED:
        records = read_records(str(path))
        trials = [(record.variant, record.seed) for record in records]
        assert len(set(trials)) == len(trials)
        variants = list(dict.fromkeys(variant for variant, _ in trials))
        assert trials == sorted(trials, key=lambda trial: (variants.index(trial[0]), trial[1]))
        assert variants[0] == "full"
        names += [record.name for record in records if record.experiment == path.stem]
    assert len(names) >= 145  # what was measured before there were these files


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_published_records_are_what_their_commands_would_measure(path):
    """Today's code computes the same for their commands, so that none is run again."""
    for published in read_records(str(path)):
        command = published.command
        assert not [word for word in command if word.startswith(("experiment=", "ablate"))]
        config = _composed(*command)
        assert config.name == published.experiment and config.stages == ["ingest", "sweep"]
        assert published.overrides == config.sweep.variants[published.variant]
        trial = _composed(*command, *published.overrides)
        variant = Variant(published.variant, trial, config.sweep.splits, published.stores)
        assert variant.why_stale(published) is None


@cache
def _composed(*overrides):
    return load(overrides)


def test_records_are_merged_and_drawn(tmp_path, command, capsys):
    results = tmp_path / "results"
    play(table_run(tmp_path), PlayedTrials())
    assert command(tmp_path / "run", "--folder", results) == 0
    assert f"published: {results}/small_table.md" in capsys.readouterr().out
    table = results / "small_table.jsonl"
    names = [record.name for record in read_records(str(table))]
    assert names == ["full-0", "full-1", "early-0", "early-1", "late-0", "late-1"]
    page = (results / "small_table.md").read_text()
    assert page.startswith("<!-- generated, begin")
    assert "| early | 2 | 81.0 ± 1.4 | 71.0 ± 1.4 | -11.0 ± 1.4 | -11.0 ± 1.4 | 0.1 |" in page
    assert str(tmp_path) not in page and "(small_table.png)" in page
    assert (results / "small_table.png").read_bytes().startswith(b"\x89PNG")
    assert command("--check", "--folder", results) == 0

    # Another machine has measured a further seed.
    elsewhere = table_run(tmp_path, f"output={tmp_path}/elsewhere", "sweep.seeds=[2]")
    play(elsewhere, PlayedTrials())
    assert command(tmp_path / "elsewhere", "--folder", results) == 0
    assert len(read_records(str(table))) == 9
    assert "| full | 3 |" in (results / "small_table.md").read_text()


def test_hand_written_text_stays(tmp_path):
    results = tmp_path / "results"
    page = results / "small_table.md"
    results.mkdir()
    page.write_text("# Results\n\nBefore.\n\n<!-- other: generated, begin -->\nkept\n")
    play(table_run(tmp_path, variants=ONE_VARIANT), PlayedTrials())
    publish(str(tmp_path / "run"), str(results))
    first = page.read_text()
    assert first.startswith(
        "# Results\n\nBefore.\n\n<!-- other: generated, begin -->\nkept\n\n<!-- generated, begin"
    )
    page.write_text(first + "\nAfter, with a \\1 in it.\n")
    publish(str(tmp_path / "run"), str(results))
    assert page.read_text() == first + "\nAfter, with a \\1 in it.\n"
    assert problems(str(results)) == []


def test_records_of_uncommitted_code_are_refused(tmp_path, command, capsys, monkeypatch):
    results = tmp_path / "results"
    monkeypatch.setattr(book, "code_version", lambda: "0123456789ab+dirty")
    play(table_run(tmp_path, variants=ONE_VARIANT), PlayedTrials())
    assert command(tmp_path / "run", "--folder", results) == 2
    error = capsys.readouterr().err
    assert "measured by code that is in no commit: full-0 (0123456789ab+dirty), full-1" in error
    assert error.count("\n") == 1 and not results.exists()


def test_a_trial_is_of_the_code_that_measured_it(tmp_path, command, capsys, monkeypatch):
    """What is committed after a trial was finished does not make it measured by a commit."""
    run = table_run(tmp_path, "sweep.seeds=[0]", variants=ONE_VARIANT)
    output = tmp_path / "run"
    play(run, PlayedTrials())
    # The version before had finished a stage, and another version the next one.
    state = output / "full-0" / "run.json"
    values = json.loads(state.read_text())
    assert values["code"] == {"pretrain": "0123456789ab", "evaluate": "0123456789ab"}
    values["code"]["pretrain"] = "ba9876543210+dirty"
    state.write_text(json.dumps(values))

    # The record is written anew, of a trial that was finished before.
    forget(output / "records.jsonl", "full-0")
    monkeypatch.setattr(book, "code_version", lambda: "a later commit")
    trials = PlayedTrials()
    play(run, trials)
    full = records_of(output)["full-0"]
    assert trials.trained == [] and not full.is_committed
    assert full.code_versions == ["ba9876543210+dirty", "0123456789ab"]
    assert "code 0123456789ab, ba9876543210+dirty." in (output / "table.md").read_text()
    assert command(output, "--folder", tmp_path / "results") == 2
    assert "full-0 (ba9876543210+dirty, 0123456789ab)" in capsys.readouterr().err


def test_a_trial_of_unknown_code_is_refused(tmp_path):
    """As that of a run which an early version finished."""
    run = table_run(tmp_path, "sweep.seeds=[0]", variants=ONE_VARIANT)
    output = tmp_path / "run"
    play(run, PlayedTrials())
    forget(output / "records.jsonl", "full-0")
    state = output / "full-0" / "run.json"
    values = json.loads(state.read_text())
    del values["code"]
    state.write_text(json.dumps(values))
    play(run, PlayedTrials())
    with pytest.raises(ConfigError, match=r"in no commit: full-0 \(unknown\+dirty\); commit"):
        publish(str(output), str(tmp_path / "results"))


def test_stages_of_two_commits_are_committed():
    both = record("full", 0, linear_top1=0.9, knn_top1=0.8)
    both = both.model_copy(update={"code": "0123456789ab, ba9876543210"})
    assert both.is_committed and both.code_versions == ["0123456789ab", "ba9876543210"]


def test_what_cannot_be_published_is_refused(tmp_path, command, capsys):
    assert command(tmp_path, "--folder", tmp_path / "results") == 2
    assert f"error: {tmp_path}: holds no run\n" == capsys.readouterr().err
    play(table_run(tmp_path, "sweep.only=[late]", "sweep.seeds=[1]"), PlayedTrials())
    with pytest.raises(ConfigError, match="no record of its reference full; measure that, too"):
        publish(str(tmp_path / "run"), str(tmp_path / "results"))
    (tmp_path / "run" / "records.jsonl").unlink()
    with pytest.raises(ConfigError, match="holds no records of a table"):
        publish(str(tmp_path / "run"), str(tmp_path / "results"))


def test_published_records_of_other_settings_give_way(tmp_path, capsys):
    results = str(tmp_path / "results")
    play(table_run(tmp_path), PlayedTrials())
    publish(str(tmp_path / "run"), results)
    # `early` means something else now, and only one seed of it was measured again.
    changed = table_run(
        tmp_path,
        f"output={tmp_path}/elsewhere",
        "sweep.seeds=[0]",
        variants=VARIANTS.replace("objective=early", "objective=umurl"),
    )
    play(changed, PlayedTrials())
    publish(str(tmp_path / "elsewhere"), results)
    assert "early-1: of another configuration" in capsys.readouterr().out
    names = [record.name for record in read_records(f"{results}/small_table.jsonl")]
    assert names == ["full-0", "full-1", "early-0", "late-0", "late-1"]


def test_what_is_out_of_date_is_named(tmp_path, command, capsys):
    table = tmp_path / "small_table.jsonl"
    records = [record("full", seed, linear_top1=0.9, knn_top1=0.8) for seed in (0, 1)]
    write_records(str(table), records, ["full"])
    assert command("--folder", tmp_path) == 0  # draws all
    assert command("--check", "--folder", tmp_path) == 0

    forget(table, "full-1")
    assert command("--check", "--folder", tmp_path) == 1
    error = capsys.readouterr().err
    assert f"{tmp_path}/small_table.md: not what small_table.jsonl says" in error
    assert "small_table.png" in error  # the deviation went
    draw(str(tmp_path), "small_table")
    assert problems(str(tmp_path)) == []

    shutil.copy(tmp_path / "small_table.md", tmp_path / "gone.md")
    assert problems(str(tmp_path)) == [f"{tmp_path}/gone.md: of no table"]
    (tmp_path / "small_table.png").unlink()
    assert command("--check", "--folder", tmp_path) == 1


def test_a_record_is_one_line_of_json(tmp_path):
    table = tmp_path / "small_table.jsonl"
    write_records(str(table), [record("b", 1), record("a", 0), record("b", 0)], ["b", "a"])
    values = [json.loads(line) for line in table.read_text().splitlines()]
    assert [(one["variant"], one["seed"]) for one in values] == [("b", 0), ("b", 1), ("a", 0)]
    kept = [read.model_dump(exclude={"people", "plan"}) for read in read_records(str(table))]
    assert kept == values  # what says nothing is left out, as older records have it
